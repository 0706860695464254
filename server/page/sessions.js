// Sessions: conversations that live in the server. Which one was forked from which is what this
// browser saw; the server has no parents, only states.
import {h, ask, bytes, stored, store} from "./dom.js";
import {call, get, post, events} from "./api.js";

const known = () => stored("sessions", {}); // id -> {parent, name, turns: [[said, answered]]}

function remember(id, change) {
  const all = known();
  all[id] = {...all[id], ...change};
  store("sessions", all);
}

async function all() {
  const out = [];
  for (let after = "", more = true; more && out.length < 2000;) {
    const page = await get(`v1/sessions?limit=100${after && `&after=${after}`}`);
    out.push(...page.data);
    more = page.has_more && page.data.length > 0;
    after = page.data.at(-1)?.id;
  }
  return out;
}

export function sessions(view, open) {
  const body = h("div"), problem = h("p.bad", {role: "alert"}), talk = h("div");
  const pick = h("input", {type: "file", hidden: true, id: "file", onchange: () => act(async () => {
    const s = await (await call("v1/sessions", {method: "PUT", raw: pick.files[0]})).json();
    pick.value = "";
    remember(s.id, {name: "imported"});
  })});
  let control = null;

  async function act(f) {
    problem.textContent = "";
    try {
      await f();
      await show();
    } catch (e) {
      if (e.name !== "AbortError") problem.textContent = e.message;
    }
  }

  function item(s, children, seen) {
    const mine = known()[s.id] ?? {};
    const button = (name, title, f) => h("button", {title, onclick: () => act(f)}, name);
    return h("li", {id: `s-${s.id}`}, h("div.row", {},
      h("a", {href: `#sessions/${s.id}`}, mine.name || s.id.slice(0, 8)),
      h("span.soft", {}, `${s.position} tokens, ${s.turns} turns, ${s.persist}${s.busy ? ", busy" : ""}`),
      button("Fork", "A second conversation that begins like this one", async () => {
        const f = await post(`v1/sessions/${s.id}/fork`, {});
        remember(f.id, {parent: s.id, turns: mine.turns ?? []});
      }),
      s.turns > 0 && button("Rewind", "Back to the end of an earlier turn", async () => {
        const to = await ask("Rewind to the end of turn", {text: `It has ${s.turns}; 0 is its beginning.`, value: String(s.turns - 1)});
        if (to === null) return;
        await post(`v1/sessions/${s.id}/rewind`, {turn: Number(to)});
        remember(s.id, {turns: (mine.turns ?? []).slice(0, Number(to))});
      }),
      button("Export", "One file: tokens and state", async () => {
        const blob = await (await call(`v1/sessions/${s.id}/state`)).blob();
        const a = h("a", {href: URL.createObjectURL(blob), download: `${s.id}.recurd`});
        a.click();
        setTimeout(() => URL.revokeObjectURL(a.href), 60000);
        problem.textContent = "";
        a.title = bytes(blob.size);
      }),
      button("Rename", "A name that this browser knows", async () => {
        const name = await ask("Name", {value: mine.name ?? ""});
        if (name !== null) remember(s.id, {name});
      }),
      button("Delete", "", async () => {
        if (await ask("Delete this session?", {input: false, ok: "Delete", text: "Its states go, too."}) !== null)
          await call(`v1/sessions/${s.id}`, {method: "DELETE"});
      })),
      tree(children, seen));
  }
  function tree(list, seen) {
    const left = list.filter((s) => !seen.has(s.id));
    left.forEach((s) => seen.add(s.id));
    return left.length ? h("ul.tree", {}, left.map((s) => item(s, s.below, seen))) : null;
  }

  async function show() {
    const list = await all(), names = known();
    const byId = new Map(list.map((s) => [s.id, Object.assign(s, {below: []})]));
    const roots = list.filter((s) => {
      const parent = byId.get(names[s.id]?.parent);
      if (parent && parent !== s) parent.below.push(s);
      return !parent || parent === s;
    });
    body.replaceChildren(tree(roots, new Set()) ?? h("p.soft", {}, "There are no sessions."));
    if (byId.has(open)) converse(byId.get(open));
    else talk.replaceChildren();
  }

  // One session's conversation: only the new turn is sent.
  function converse(s) {
    const mine = known()[s.id] ?? {};
    const box = h("textarea", {id: "turn", rows: 2, dir: "auto", "aria-label": "Next turn", placeholder: "Next turn"});
    const out = h("div.text", {dir: "auto", id: "answer"}), go = h("button.main", {id: "say"}, "Send"), stop = h("button", {hidden: true}, "Stop");
    go.onclick = () => act(async () => {
      const said = box.value.trim();
      if (!said) return;
      let text = "";
      control = new AbortController();
      go.disabled = true;
      stop.hidden = false;
      try {
        for await (const e of events("v1/chat/completions", {session: s.id, messages: [{role: "user", content: said}]}, control.signal)) {
          text += e.choices?.[0]?.delta?.content ?? "";
          out.textContent = text;
        }
        remember(s.id, {turns: [...(mine.turns ?? []), [said, text]]});
      } finally {
        go.disabled = false;
        stop.hidden = true;
      }
    });
    stop.onclick = () => control?.abort();
    talk.replaceChildren(h("h2", {}, mine.name || s.id), h("p.soft", {}, `id ${s.id} · generation ${s.generation}`),
      ...(mine.turns ?? []).map(([q, a]) => h("div", {}, h("p", {dir: "auto"}, h("strong", {}, "› "), q), h("p", {dir: "auto"}, a))),
      out, box, h("div.row", {}, go, stop));
  }

  view.replaceChildren(h("div.page", {}, h("div.row", {},
    h("button.main", {id: "create", onclick: () => act(async () => { await post("v1/sessions", {}); })}, "New session"),
    h("button", {id: "import", onclick: () => pick.click()}, "Import"), h("button", {id: "refresh", onclick: () => act(async () => {})}, "Refresh"), pick),
    problem, body, talk));
  act(async () => {});
  return () => control?.abort();
}
