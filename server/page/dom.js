// Elements without a single innerHTML: whatever a model writes stays text.

// h("button.main", {onclick: f, title: "…"}, "text", element, …)
export function h(what, props = {}, ...inside) {
  const [tag, ...classes] = what.split(".");
  const e = document.createElement(tag || "div");
  if (classes.length) e.className = classes.join(" ");
  for (const [k, v] of Object.entries(props)) {
    if (v === undefined || v === false) continue;
    if (k in e && k !== "list") e[k] = v;
    else e.setAttribute(k, v === true ? "" : v);
  }
  e.append(...inside.flat().filter((x) => x !== null && x !== undefined && x !== false));
  return e;
}

// `code`, **strong** and *emphasis* of one line.
function inline(text) {
  const out = [];
  const mark = /(`[^`]+`|\*\*[^*]+\*\*|\*[^*\s][^*]*\*)/;
  for (const part of text.split(mark)) {
    if (!part) continue;
    if (part.length > 2 && part.startsWith("`")) out.push(h("code", {}, part.slice(1, -1)));
    else if (part.length > 4 && part.startsWith("**")) out.push(h("strong", {}, part.slice(2, -2)));
    else if (part.length > 2 && /^\*[^*]/.test(part) && part.endsWith("*")) out.push(h("em", {}, part.slice(1, -1)));
    else out.push(part);
  }
  return out;
}

// Paragraphs, headings, lists and fenced code: what chat models write most. dir=auto: each
// paragraph runs in the direction of its own letters.
export function prose(text) {
  const out = [];
  const fence = /^(```|~~~)[^\n]*\n([\s\S]*?)(?:^\1[^\n]*$|(?![\s\S]))/m;
  while (text) {
    const at = fence.exec(text);
    const before = at ? text.slice(0, at.index) : text;
    for (const p of before.split(/\n{2,}/)) {
      const head = /^#{1,6} (.*)$/.exec(p.trim());
      if (head) out.push(h("p", {dir: "auto"}, h("strong", {}, inline(head[1]))));
      else if (p.trim()) out.push(h("p", {dir: "auto"}, inline(p.replace(/^\n+|\n+$/g, ""))));
    }
    if (!at) break;
    const body = at[2].replace(/\n$/, "");
    out.push(h("pre", {dir: "ltr"}, h("code", {}, body)));
    text = text.slice(at.index + at[0].length).replace(/^\n/, "");
  }
  return out;
}

let answered = null; // what an open question waits for

// A question in the page's own dialog; resolves to the text, or null.
export function ask(title, {text = "", value = "", type = "text", ok = "OK", input = true} = {}) {
  const d = document.getElementById("ask"), field = document.getElementById("ask-input");
  document.getElementById("ask-title").textContent = title;
  document.getElementById("ask-text").textContent = text;
  document.getElementById("ask-ok").textContent = ok;
  field.type = type;
  field.value = value;
  field.hidden = !input;
  answered?.(null);
  d.returnValue = "";
  d.showModal();
  if (input) field.select();
  return new Promise((done) => {
    answered = done;
    // The event of an earlier question may come when the next is open already.
    d.onclose = () => d.open || done(d.returnValue === "ok" ? field.value : null);
    field.onkeydown = (e) => {
      if (e.key !== "Enter") return;
      e.preventDefault();
      d.close("ok");
    };
  });
}

export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return `${n.toFixed(i && n < 10 ? 1 : 0)} ${units[i]}`;
}

export function stored(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(`recurd.${name}`)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

// False: there is no room, or the browser keeps nothing.
export function store(name, value) {
  try {
    localStorage.setItem(`recurd.${name}`, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}
