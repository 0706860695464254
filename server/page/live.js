// What the server does now, from /metrics, and what the model is.
import {h, bytes} from "./dom.js";
import {get, metrics} from "./api.js";

const PERIOD_MS = 1000, POINTS = 90;
const MISSES = {
  no_checkpoint: "no state before the prompt's end", evicted: "the state had made room", fingerprint: "of another model",
  numerics: "of another arithmetic", tokens_diverged: "other tokens", too_short: "too short to keep",
};

function spark(points) {
  const top = Math.max(...points, 1e-9);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 30");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(svg.namespaceURI, "polyline");
  line.setAttribute("points", points.map((v, i) => `${(i * 100) / Math.max(points.length - 1, 1)},${29 - (v * 28) / top}`).join(" "));
  svg.append(line);
  return svg;
}

export function live(view) {
  const cards = h("div.cards"), misses = h("div"), tiers = h("div.scroll"), problem = h("p.bad", {role: "alert"}), facts = h("div.scroll");
  const history = {};
  let before = null, at = 0, timer = 0, over = false;

  const sum = (m, name) => (m[name] ?? []).reduce((a, x) => a + x.value, 0);
  const card = (name, value, point) => {
    const points = history[name] ??= [];
    points.push(point);
    if (points.length > POINTS) points.shift();
    return h("div.card", {}, h("span.soft", {}, name), h("b", {}, value), spark(points));
  };
  function show(m, seconds) {
    const rate = (name) => (before ? Math.max(sum(m, name) - sum(before, name), 0) / seconds : 0);
    const steps = rate("recurd_steps_total");
    const step = steps ? (1000 * rate("recurd_step_seconds_total")) / steps : 0;
    const hits = sum(m, "recurd_cache_hits_total"), missed = sum(m, "recurd_cache_misses_total");
    const written = rate("recurd_output_tokens_total"), read = rate("recurd_prompt_tokens_total");
    const one = (v) => v.toFixed(v < 10 ? 1 : 0);
    cards.replaceChildren(
      card("Running", sum(m, "recurd_requests_running"), sum(m, "recurd_requests_running")),
      card("Waiting", sum(m, "recurd_requests_waiting"), sum(m, "recurd_requests_waiting")),
      card("Slots", `${sum(m, "recurd_slots_used")} of ${sum(m, "recurd_slots")}`, sum(m, "recurd_slots_used")),
      card("Tokens written a second", one(written), written),
      card("Prompt tokens a second", one(read), read),
      card("A step", `${one(step)} ms`, step),
      card("Prompts from the cache", hits + missed ? `${Math.round((100 * hits) / (hits + missed))} %` : "–", hits + missed ? hits / (hits + missed) : 0),
      card("Memory", bytes(sum(m, "process_resident_memory_bytes")), sum(m, "process_resident_memory_bytes")));
    misses.replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "Computed from the beginning, because"), h("th.num", {}, "Prompts"))),
      h("tbody", {}, (m.recurd_cache_misses_total ?? []).map((x) => h("tr", {}, h("td", {}, MISSES[x.labels.reason] ?? x.labels.reason), h("td.num", {}, x.value))))));
    const of = (name, tier) => m[name]?.find((x) => x.labels.tier === tier)?.value ?? 0;
    tiers.replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, ["States in", "Count", "Bytes", "Of", "Evicted"].map((t, i) => h(i ? "th.num" : "th", {}, t)))),
      h("tbody", {}, ["device", "ram", "disk"].map((t) => h("tr", {}, h("td", {}, t), h("td.num", {}, of("recurd_cache_entries", t)),
        h("td.num", {}, bytes(of("recurd_cache_bytes", t))), h("td.num", {}, bytes(of("recurd_cache_bytes_max", t))), h("td.num", {}, of("recurd_cache_evictions_total", t)))))));
  }
  async function tick() {
    try {
      const now = performance.now(), m = await metrics();
      if (over) return;
      show(m, (now - at) / 1000);
      before = m;
      at = now;
      problem.textContent = "";
    } catch (e) {
      problem.textContent = e.status === 403 ? "This key may not read /metrics." : e.message;
    }
    if (!over) timer = setTimeout(tick, PERIOD_MS);
  }
  async function model() {
    const [models, limits, version] = await Promise.all([get("v1/models"), get("limits"), get("version")]);
    const m = models.data[0], context = m.max_model_len ?? "no limit: the state does not grow";
    const rows = {Model: m.id, Architecture: m.architecture, Parameters: m.parameters.toLocaleString(), Context: context,
                  Version: `${version.version} (${version.commit})`, ...limits};
    facts.replaceChildren(h("table", {}, h("tbody", {}, Object.entries(rows).map(([k, v]) => h("tr", {}, h("td", {}, k.replaceAll("_", " ")), h("td", {}, String(v)))))));
  }
  view.replaceChildren(h("div.page", {}, problem, cards, h("h2", {}, "Cache"), tiers, misses, h("h2", {}, "Model and limits"), facts));
  tick();
  model().catch((e) => { problem.textContent = e.message; });
  return () => {
    over = true;
    clearTimeout(timer);
  };
}
