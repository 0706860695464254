// The completion playground: a text goes on, and each token shows what else it could have been.
import {h, stored, store} from "./dom.js";
import {events} from "./api.js";

let control = null;

// A likely token is plain, an unlikely one coloured.
function shade(logprob) {
  const p = Math.exp(logprob);
  return `color-mix(in srgb, var(--accent) ${Math.round((1 - p) * 55)}%, transparent)`;
}

function bars(entries) {
  return entries.map(({token, logprob}) => h("div.bar", {}, h("span", {}, JSON.stringify(token)),
    h("i", {style: `width:${(Math.exp(logprob) * 100).toFixed(1)}%`}), h("span", {}, `${(Math.exp(logprob) * 100).toFixed(1)} %`)));
}

export function play(view) {
  const was = stored("play", {text: "Once upon a time", max_tokens: 64, temperature: 0.8});
  const text = h("textarea", {id: "text", rows: 6, dir: "auto", value: was.text, "aria-label": "Text"});
  const max = h("input", {type: "number", min: 1, value: was.max_tokens, "aria-label": "Tokens"});
  const heat = h("input", {type: "number", min: 0, step: 0.1, value: was.temperature, "aria-label": "Temperature"});
  const out = h("div.tokens", {id: "tokens", dir: "auto"}), more = h("div", {"aria-live": "polite"}), note = h("p.soft");
  const go = h("button.main", {id: "go"}, "Go on"), stop = h("button", {hidden: true, id: "stop"}, "Stop");
  const use = h("button", {hidden: true, id: "use"}, "Put it behind the text");
  let written = "";

  go.onclick = async () => {
    const body = {prompt: text.value, max_tokens: Number(max.value), temperature: Number(heat.value), logprobs: 8};
    store("play", {text: text.value, max_tokens: body.max_tokens, temperature: body.temperature});
    control = new AbortController();
    out.replaceChildren();
    more.replaceChildren();
    note.textContent = "";
    note.className = "soft";
    written = "";
    go.disabled = true;
    stop.hidden = false;
    try {
      for await (const event of events("v1/completions", body, control.signal)) {
        const c = event.choices?.[0];
        written += c?.text ?? "";
        const l = c?.logprobs;
        l?.tokens.forEach((token, i) => {
          const others = Object.entries(l.top_logprobs?.[i] ?? {}).map(([t, p]) => ({token: t, logprob: p}));
          out.append(h("button", {style: `background:${shade(l.token_logprobs[i])}`, title: "What else it could have been",
            onclick: () => more.replaceChildren(...bars(others))}, token));
        });
        if (c?.finish_reason) note.textContent = `ended: ${c.finish_reason}`;
      }
    } catch (e) {
      note.textContent = e.name === "AbortError" ? "stopped" : e.message;
      note.className = e.name === "AbortError" ? "soft" : "bad";
    }
    go.disabled = false;
    stop.hidden = true;
    use.hidden = !written;
  };
  stop.onclick = () => control?.abort();
  use.onclick = () => {
    text.value += written;
    use.hidden = true;
    out.replaceChildren();
  };
  view.replaceChildren(h("div.page", {}, text, h("div.row", {}, h("label", {}, "Tokens ", max), h("label", {}, "Temperature ", heat), go, stop, use), note, out, more));
  return () => control?.abort();
}
