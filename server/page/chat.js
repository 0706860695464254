// Chats: kept in this browser, sent whole each time; the server's cache makes that cheap.
import {h, prose, ask, stored, store} from "./dom.js";
import {events} from "./api.js";

const FIELDS = [ // name, label, step, lowest; left empty = the server's default
  ["temperature", "Temperature", 0.1, 0], ["top_p", "top_p", 0.05, 0], ["top_k", "top_k", 1, 0],
  ["min_p", "min_p", 0.01, 0], ["presence_penalty", "Presence penalty", 0.1, -2],
  ["frequency_penalty", "Frequency penalty", 0.1, -2], ["max_tokens", "Longest answer", 1, 1],
  ["seed", "Seed", 1, 0],
];

let talks = stored("talks", []);
const running = new Map(); // talk id -> AbortController
const drafts = new Map();  // talk id -> what is typed

function keep() {
  while (!store("talks", talks) && talks.length > 1) talks.pop(); // the oldest make room
}

function fresh() {
  const last = talks[0];
  const talk = {id: crypto.randomUUID?.() ?? String(Date.now()), title: "", turns: [],
                system: last?.system ?? "", settings: {...last?.settings}, tools: ""};
  talks.unshift(talk);
  keep();
  return talk;
}

// ---- one turn ----

function callView(c) {
  return h("div.call", {}, `${c.function.name}(`, h("span", {}, c.function.arguments), ")");
}

function fill(box, turn, live) {
  const out = [];
  if (turn.reasoning)
    out.push(h("details", {open: live && !turn.content}, h("summary.soft", {}, "Thinking"),
               h("div.thought", {}, prose(turn.reasoning))));
  out.push(h("div.text", {dir: "auto"}, turn.role === "assistant" ? prose(turn.content)
                                                     : h("p", {dir: "auto"}, turn.content)));
  for (const c of turn.calls ?? []) out.push(callView(c));
  if (turn.error) out.push(h("p.bad", {role: "alert"}, turn.error));
  if (turn.note) out.push(h("p.soft", {}, turn.note));
  const wasOpen = box.querySelector("details")?.open;
  box.replaceChildren(...out);
  if (wasOpen !== undefined && !live) box.querySelector("details")?.toggleAttribute("open", wasOpen);
}

function message(turn) {
  if (turn.role === "tool") return {role: "tool", tool_call_id: turn.call, content: turn.content};
  const m = {role: turn.role, content: turn.content};
  if (turn.calls?.length) m.tool_calls = turn.calls.map(({id, type, function: f}) => ({id, type, function: f}));
  if (turn.reasoning) m.reasoning_content = turn.reasoning;
  return m;
}

function request(talk) {
  const body = {
    messages: [...(talk.system ? [{role: "system", content: talk.system}] : []),
               ...talk.turns.filter((t) => !t.error || t.content).map(message)],
    stream_options: {include_usage: true},
  };
  for (const [name] of FIELDS)
    if (talk.settings[name] !== undefined) body[name] = talk.settings[name];
  if (talk.tools?.trim()) body.tools = JSON.parse(talk.tools);
  return body;
}

function take(turn, event) {
  const choice = event.choices?.[0], delta = choice?.delta ?? {};
  turn.content += delta.content ?? "";
  turn.reasoning = (turn.reasoning ?? "") + (delta.reasoning_content ?? "");
  for (const c of delta.tool_calls ?? []) {
    const calls = turn.calls ??= [];
    const at = calls[c.index] ??= {id: c.id, type: "function", function: {name: "", arguments: ""}};
    at.function.name += c.function?.name ?? "";
    at.function.arguments += c.function?.arguments ?? "";
  }
  if (choice?.finish_reason) turn.finish = choice.finish_reason;
  if (event.usage) turn.usage = event.usage;
}

function note(turn, seconds) {
  const u = turn.usage;
  if (!u) return turn.finish === "length" ? "cut at the longest answer" : "";
  const cached = u.prompt_tokens_details?.cached_tokens ?? 0;
  const rate = seconds > 0.2 ? `, ${(u.completion_tokens / seconds).toFixed(1)} a second` : "";
  return `${u.completion_tokens} tokens${rate} · ` +
         `prompt ${u.prompt_tokens}, ${cached} from the cache` +
         (turn.finish === "length" ? " · cut at the longest answer" : "");
}

// ---- the view ----

export function chat(view, id) {
  if (!talks.length) fresh();
  const talk = talks.find((t) => t.id === id) ?? talks[0];
  const log = h("div.log", {"aria-live": "off"});
  const send = h("button.main", {id: "send"}, "Send");
  const stop = h("button", {id: "stop", hidden: true}, "Stop");
  const box = h("textarea", {id: "prompt", rows: 3, dir: "auto", placeholder: "Message (Enter sends, Shift+Enter: new line)",
                             value: drafts.get(talk.id) ?? "", "aria-label": "Message"});
  const list = h("nav.talks", {"aria-label": "Conversations"});
  let following = true;

  function showList() {
    list.replaceChildren(
      h("button", {id: "new", title: "New conversation (Alt+N)", onclick: begin}, "+ New"),
      ...talks.map((t) => h("a", {href: `#chat/${t.id}`, "aria-current": t === talk && "page"},
        h("span", {dir: "auto"}, t.title || "New conversation"),
        h("button", {title: "Delete", "aria-label": `Delete ${t.title || "conversation"}`, onclick: (e) => drop(e, t)}, "×"))));
  }
  function begin() {
    location.hash = `#chat/${fresh().id}`;
  }
  async function drop(e, t) {
    e.preventDefault();
    e.stopPropagation();
    if (await ask("Delete this conversation?", {text: t.title, input: false, ok: "Delete"}) === null) return;
    running.get(t.id)?.abort();
    talks = talks.filter((x) => x !== t);
    keep();
    if (t === talk) location.hash = "#chat/";
    chat(view, t === talk ? undefined : talk.id);
  }

  function turnView(turn) {
    const text = h("div");
    const i = () => talk.turns.indexOf(turn);
    const actions = turn.role === "user" ? [h("button", {title: "Edit and send again", onclick: () => edit(i())}, "Edit")]
      : turn.role === "assistant" ? [
        h("button", {title: "Write this answer again", onclick: () => again(i())}, "Regenerate"),
        h("button", {title: "Copy", onclick: () => navigator.clipboard?.writeText(turn.content)}, "Copy")] : [];
    const names = {user: "You", assistant: "Model", tool: "Tool's result"};
    fill(text, turn, false);
    return h(`article.turn.${turn.role}`, {}, h("div.who", {}, names[turn.role], actions), text);
  }
  function showTurns() {
    log.replaceChildren(...talk.turns.map(turnView), ...results());
    log.scrollTop = log.scrollHeight;
  }
  // What the model has asked for and nobody has answered.
  function results() {
    const last = talk.turns.at(-1);
    if (running.has(talk.id) || last?.role !== "assistant" || !last.calls?.length) return [];
    const fields = last.calls.map((c) => h("textarea", {rows: 2, "aria-label": `Result of ${c.function.name}`,
                                                        placeholder: `Result of ${c.function.name}`}));
    return [h("div.turn", {}, fields, h("button", {onclick: () => {
      last.calls.forEach((c, k) => talk.turns.push({role: "tool", call: c.id, content: fields[k].value}));
      answer();
    }}, "Send results"))];
  }

  async function edit(i) {
    running.get(talk.id)?.abort();
    box.value = talk.turns[i].content;
    talk.turns.length = i;
    keep();
    showTurns();
    box.focus();
  }
  function again(i) {
    running.get(talk.id)?.abort();
    talk.turns.length = i;
    answer();
  }
  function submit() {
    const text = box.value.trim();
    if (!text || running.has(talk.id)) return;
    talk.turns.push({role: "user", content: text});
    if (!talk.title) talk.title = text.slice(0, 60);
    box.value = "";
    drafts.delete(talk.id);
    answer();
  }

  async function answer() {
    let body;
    try {
      body = request(talk);
    } catch (e) {
      talk.turns.push({role: "assistant", content: "", error: `Tools: ${e.message}`});
      showTurns();
      return;
    }
    const turn = {role: "assistant", content: ""}, control = new AbortController();
    running.set(talk.id, control);
    talk.turns.push(turn);
    keep();
    showList();
    showTurns();
    busy();
    const text = log.lastElementChild.lastElementChild;
    let due = false, first = 0;
    const draw = () => {
      due = false;
      fill(text, turn, true);
      if (following) log.scrollTop = log.scrollHeight;
    };
    try {
      for await (const event of events("v1/chat/completions", body, control.signal)) {
        first ||= performance.now();
        take(turn, event);
        if (!due) {
          due = true;
          requestAnimationFrame(draw);
        }
      }
      turn.note = note(turn, Math.max(performance.now() - first, 1) / 1000);
    } catch (e) {
      if (e.name === "AbortError") turn.note = "stopped";
      else turn.error = e.message;
    }
    running.delete(talk.id);
    keep();
    fill(text, turn, false);
    log.append(...results());
    busy();
    box.focus();
  }
  function busy() {
    const is = running.has(talk.id);
    send.hidden = is;
    stop.hidden = !is;
  }

  log.onscroll = () => { following = log.scrollTop + log.clientHeight > log.scrollHeight - 40; };
  box.oninput = () => drafts.set(talk.id, box.value);
  box.onkeydown = (e) => {
    if (e.key !== "Enter" || e.shiftKey || e.isComposing) return;
    e.preventDefault();
    submit();
  };
  send.onclick = submit;
  stop.onclick = () => running.get(talk.id)?.abort();

  showList();
  view.replaceChildren(h("div.chat.wide", {onkeydown: (e) => {
    if (e.key === "Escape") stop.onclick();
    if (e.altKey && e.key.toLowerCase() === "n") begin();
  }}, list, log, h("div.compose", {}, h("div", {}, settings(talk), box, h("div.row", {}, send, stop)))));
  showTurns();
  busy();
  box.focus();
}

function settings(talk) {
  const number = ([name, label, step, min]) => h("label", {}, label, h("input", {
    type: "number", step, min, name, value: talk.settings[name] ?? "", placeholder: "default",
    onchange: (e) => {
      if (e.target.value === "") delete talk.settings[name];
      else talk.settings[name] = Number(e.target.value);
      keep();
    }}));
  const text = (name, label, rows) => h("label.all", {}, label, h("textarea", {
    rows, name, dir: "auto", value: talk[name] ?? "",
    onchange: (e) => { talk[name] = e.target.value; keep(); }}));
  return h("details", {id: "settings"}, h("summary.soft", {}, "Settings"), h("div.settings", {},
    text("system", "System prompt", 2), FIELDS.map(number),
    text("tools", "Tools: a JSON array, as the API takes it", 2)));
}
