// The daemon's own API, and nothing else: no request leaves this origin.
import {ask} from "./dom.js";

let key = sessionStorage.getItem("recurd.key") ?? "";

export class ApiError extends Error {
  constructor(status, message, id) {
    super(message);
    this.status = status;
    this.id = id;
  }
}

export async function askKey(why = "") {
  const given = await ask("API key", {type: "password", text: why || "Kept until this tab is closed."});
  if (given === null) return false;
  key = given.trim();
  sessionStorage.setItem("recurd.key", key);
  document.getElementById("key").hidden = false;
  return true;
}

function headers(more) {
  return key ? {...more, authorization: `Bearer ${key}`} : more;
}

let asking = null;

// A Response with a good status; 401 asks for a key and tries again; others throw ApiError.
export async function call(path, {method = "GET", body, raw, signal} = {}) {
  for (;;) {
    const given = key;
    let r;
    try {
      r = await fetch(path, {
        method, signal, cache: "no-store",
        headers: headers(raw ? {"content-type": "application/octet-stream"}
                             : body !== undefined ? {"content-type": "application/json"} : {}),
        body: raw ?? (body === undefined ? undefined : JSON.stringify(body)),
      });
    } catch (e) {
      if (e.name === "AbortError") throw e;
      throw new ApiError(0, "The server cannot be reached.");
    }
    if (r.ok) return r;
    let message = `${r.status} ${r.statusText}`;
    try {
      const e = (await r.json()).error;
      message = typeof e === "string" ? e : e.message;
    } catch { /* no JSON: the status says it */ }
    if (r.status === 401) {
      if (given !== key) continue; // another view was asked meanwhile
      asking ??= askKey(message).finally(() => { asking = null; });
      if (await asking) continue;
    }
    throw new ApiError(r.status, message, r.headers.get("x-request-id"));
  }
}

export const get = async (path) => (await call(path)).json();
export const post = async (path, body) => (await call(path, {method: "POST", body})).json();

// The events of a streamed answer, parsed. An error inside the stream throws.
export async function* events(path, body, signal) {
  const r = await call(path, {method: "POST", body: {...body, stream: true}, signal});
  const reader = r.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return;
    rest += value;
    const frames = rest.split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      const data = frame.split("\n").filter((l) => l.startsWith("data:"))
        .map((l) => l.slice(5).trimStart()).join("\n");
      if (!data) continue; // a heartbeat
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new ApiError(200, event.error.message);
      yield event;
    }
  }
}

// name -> [{labels, value}], from /metrics.
export async function metrics() {
  const out = {};
  for (const line of (await (await call("metrics")).text()).split("\n")) {
    const m = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? ([^ ]+)/.exec(line);
    if (!m || line.startsWith("#")) continue;
    const labels = {};
    for (const [, k, v] of (m[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g))
      labels[k] = v.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
    (out[m[1]] ??= []).push({labels, value: Number(m[3])});
  }
  return out;
}
