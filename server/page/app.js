// The page's frame: which view is open, what the server says of itself, the key, light and dark.
import {h, stored, store} from "./dom.js";
import {askKey, get} from "./api.js";
import {chat} from "./chat.js";
import {play} from "./play.js";
import {sessions} from "./sessions.js";
import {live} from "./live.js";

const views = {chat: ["Chat", chat], play: ["Text", play], sessions: ["Sessions", sessions], live: ["Live", live]};
const main = document.getElementById("view"), state = document.getElementById("state");
let leave = null;

function route() {
  const [name, rest] = location.hash.slice(1).split("/", 2);
  const [, open] = views[name] ?? views.chat;
  leave?.();
  document.querySelector("header nav").replaceChildren(...Object.entries(views).map(([id, [title, f]]) =>
    h("a", {href: `#${id}`, "aria-current": f === open && "page"}, title)));
  leave = open(main, rest) ?? null;
}

function theme(choice) {
  if (choice) document.documentElement.dataset.theme = choice;
  else delete document.documentElement.dataset.theme;
}

// Whether the server is there, still loading, or going.
async function health() {
  try {
    const r = await fetch("health", {cache: "no-store"});
    const said = await r.json().catch(() => ({}));
    state.textContent = r.ok ? "" : said.error?.message ?? said.status ?? `status ${r.status}`;
  } catch {
    state.textContent = "The server cannot be reached.";
  }
  setTimeout(health, state.textContent ? 1000 : 10000);
}

async function name() {
  try {
    const id = (await get("v1/models")).data[0].id;
    document.getElementById("name").textContent = id;
    document.title = `${id} – recurd`;
  } catch {
    setTimeout(name, 2000);
  }
}

theme(stored("theme", ""));
document.getElementById("theme").onclick = () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const next = {"": dark ? "light" : "dark", light: dark ? "" : "dark", dark: dark ? "light" : ""}[stored("theme", "")] ?? "";
  store("theme", next);
  theme(next);
};
const key = document.getElementById("key");
key.hidden = !sessionStorage.getItem("recurd.key");
key.onclick = () => askKey();
addEventListener("hashchange", route);
route();
health();
name();
