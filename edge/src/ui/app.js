// The page: signing in, asking the node again and again, filters, purging, settings.

const FIGURES_EVERY = 2000, HOUR_EVERY = 10000, LISTED = 256, SETTINGS_ROWS = 400;

const charts = {
  requests: new Chart(by("chart-requests"), "areas", count),
  ratios: new Chart(by("chart-ratios"), "lines", percent, 1),
  times: new Chart(by("chart-times"), "lines", millis),
  reasons: new Chart(by("chart-reasons"), "areas", count),
};
const shown = { site: "", rule: "", paused: false, timer: null, hour: 0, turn: 0 };

function state(word, what) {
  by("state").className = `pill ${what}`;
  by("state").textContent = word;
}

function query(window) {
  const query = new URLSearchParams({ window, limit: LISTED });
  if (shown.site) query.set("site", shown.site);
  if (shown.rule) query.set("rule", shown.rule);
  return query;
}

function showFigures(stats) {
  const it = stats.window;
  document.title = `${percent(it.hit_ratio)} · ${stats.node} · Larder`;
  by("node").textContent = stats.node;
  const { generation, seconds } = stats.configuration ?? {};
  const reloaded = generation > 1 ? `, reloaded ${span(seconds)} ago` : "";
  by("about").textContent = `Larder ${stats.version}, up ${span(stats.uptime_seconds)}${reloaded}`;
  const cards = [
    ["Requests", `${count(it.requests_per_second)}/s`],
    ["Hit ratio", percent(it.hit_ratio), "good"],
    ["Byte hit ratio", percent(it.byte_hit_ratio), "good"],
    ["Origin offload", percent(it.offload), it.offload < 0 ? "bad" : "good"],
    ["p50", millis(it.p50_ms)],
    ["p99", millis(it.p99_ms)],
    ["Sent", `${bytes(it.bytes_per_second)}/s`],
    ["To origins", `${count(it.origin_requests_per_second)}/s`],
    ["From origins", `${bytes(it.origin_bytes / Math.max(it.seconds, 1))}/s`],
    ["Errors", count(it.errors), it.errors ? "bad" : ""],
    ["Collapsed", count(stats.collapsed)],
    ["Log lines lost", count(stats.log_dropped), stats.log_dropped ? "bad" : ""],
  ];
  by("cards").replaceChildren(...cards.map(([name, value, kind]) =>
    make("div", {}, make("dt", {}, name), make("dd", { class: kind || "" }, value))));
}

function showHour(stats) {
  const points = stats.series.map((it) => ({ from: Date.parse(it.from) / 1000, seconds: it.seconds }));
  const values = (of) => stats.series.map(of);
  charts.requests.show(points, [
    { name: "other", values: values((it) => rate(it, it.requests - it.cached - it.errors)) },
    { name: "from what is stored", values: values((it) => rate(it, it.cached)) },
    { name: "errors", values: values((it) => rate(it, it.errors)) },
  ]);
  charts.ratios.show(points, [
    { name: "hits", values: values((it) => it.hit_ratio) },
    { name: "bytes", values: values((it) => it.byte_hit_ratio) },
    { name: "offload", values: values((it) => (it.offload === null ? null : Math.max(0, it.offload))) },
  ]);
  charts.times.show(points, [
    { name: "p50", values: values((it) => it.p50_ms) },
    { name: "p99", values: values((it) => it.p99_ms) },
  ]);
  const most = stats.reasons.slice(0, 5).map((it) => it.reason);
  const lines = most.map((name) => ({ name, values: values((it) => rate(it, it.reasons[name] || 0)) }));
  if (stats.reasons.length > most.length) {
    const others = (it) => Object.entries(it.reasons).reduce((sum, [name, n]) => sum + (most.includes(name) ? 0 : n), 0);
    lines.push({ name: "others", values: values((it) => rate(it, others(it))) });
  }
  charts.reasons.show(points, lines);
}

// A slot that has only begun tells little of a rate.
const rate = (it, number) => number / Math.max(it.seconds, 1);

function choices(id, first, names, chosen) {
  const place = by(id);
  const wanted = [first, ...names];
  if (chosen && !names.includes(chosen)) wanted.push(chosen);
  const known = [...place.options].map((it) => it.textContent);
  if (known.join("\n") !== wanted.join("\n")) {
    place.replaceChildren(...wanted.map((name, at) => make("option", { value: at ? name : "" }, name)));
  }
  place.value = chosen;
}

async function turn() {
  clearTimeout(shown.timer);
  if (document.hidden) return;
  const number = ++shown.turn;
  try {
    if (!shown.paused) await ask(number);
  } catch (error) {
    if (number !== shown.turn) return;
    if (error.status === 401) return leave(error.message);
    if (by("main").hidden) return leave(error.message);
    state("no answer", "lost");
    by("trouble").textContent = error.message;
  }
  if (number === shown.turn) shown.timer = setTimeout(turn, FIGURES_EVERY);
}

async function ask(number) {
  const stats = await api(`/v1/stats?${query(by("window").value)}`);
  const [status, origins, curve] = await Promise.all(["/v1/status", "/v1/origins", "/v1/curve"].map(optional));
  const isHourDue = Date.now() - shown.hour >= HOUR_EVERY;
  const hour = isHourDue ? await api(`/v1/stats?${query(3600)}`) : null;
  // Somebody has chosen something else meanwhile.
  if (number !== shown.turn || shown.paused) return;
  const isFirst = by("main").hidden;
  by("entry").hidden = true;
  for (const id of ["main", "pause", "leave"]) by(id).hidden = false;
  by("trouble").textContent = "";
  state("live", "live");
  showFigures(stats);
  showTables(stats, narrow);
  showBeyond(stats, status, origins, curve);
  if (hour) {
    shown.hour = Date.now();
    showHour(hour);
    const sites = status?.sites || hour.sites.map((it) => it.name);
    choices("site", "all sites", sites, shown.site);
    choices("purge-site", "all sites", sites, by("purge-site").value);
    const rules = hour.rules.filter((it) => !shown.site || it.site === shown.site).map((it) => it.rule);
    choices("rule", "all rules", [...new Set(rules)].sort(), shown.rule);
  }
  if (isFirst) { showSettings(); showPurges(); }
}

function narrow(site, rule) {
  Object.assign(shown, { site, rule, hour: 0 });
  choices("site", "all sites", [...by("site").options].slice(1).map((it) => it.value), site);
  choices("rule", "all rules", [...by("rule").options].slice(1).map((it) => it.value), rule);
  turn();
}

function leave(message) {
  clearTimeout(shown.timer);
  shown.turn += 1;
  token = "";
  sessionStorage.removeItem(STORE);
  missing.clear();
  by("entry").hidden = false;
  for (const id of ["main", "pause", "leave"]) by(id).hidden = true;
  state("", "");
  by("node").textContent = "Larder";
  by("about").textContent = "";
  by("entry-message").textContent = message || "";
  by("token").focus();
}

by("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = by("token").value.trim();
  by("token").value = "";
  by("entry-message").textContent = "";
  // What a field of HTTP cannot carry is no token.
  if (!/^[\x21-\x7e]+$/.test(token)) return leave("That is no token: it has signs that no token has.");
  sessionStorage.setItem(STORE, token);
  shown.hour = 0;
  turn();
});
by("leave").addEventListener("click", () => leave());
by("pause").addEventListener("click", () => {
  shown.paused = !shown.paused;
  by("pause").textContent = shown.paused ? "Go on" : "Pause";
  by("pause").setAttribute("aria-pressed", shown.paused);
  if (shown.paused) state("paused", "paused");
  else turn();
});
by("filters").addEventListener("submit", (event) => event.preventDefault());
by("site").addEventListener("change", () => narrow(by("site").value, ""));
by("rule").addEventListener("change", () => narrow(shown.site, by("rule").value));
by("window").addEventListener("change", turn);
document.addEventListener("visibilitychange", turn);

// Purging.
const said = (...parts) => by("purge-said").replaceChildren(...parts);
let confirmed = "";

by("purge-kind").addEventListener("change", () => {
  by("purge-which").hidden = by("purge-kind").value === "all";
  by("purge-list").placeholder = {
    urls: "https://www.example.com/page", prefixes: "https://www.example.com/news/", tags: "product-17",
    hosts: "www.example.com", keys: "32 hexadecimal digits",
  }[by("purge-kind").value] || "";
});

by("purge-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const dry = event.submitter?.value !== "wet";
  const kind = by("purge-kind").value;
  const list = by("purge-list").value.split("\n").map((it) => it.trim()).filter(Boolean);
  if (kind !== "all" && !list.length) {
    by("purge-list").focus();
    return said(make("p", { class: "bad" }, "Nothing is named yet."));
  }
  const site = by("purge-site").value;
  const order = { mode: event.target.elements.mode.value, dry_run: dry, wait: "local", count: true };
  if (kind === "all") order.all = true; else order[kind] = list;
  if (site) order.site = site;
  if (by("purge-reason").value) order.reason = by("purge-reason").value;
  const what = JSON.stringify([kind, kind === "all" || list, site, order.mode]);
  if (!dry && kind === "all" && confirmed !== what) {
    confirmed = what;
    return said(make("p", { class: "bad" }, `Press “Purge” once more to purge everything${site ? ` of ${site}` : ""}.`));
  }
  confirmed = "";
  const buttons = event.target.querySelectorAll("button");
  buttons.forEach((it) => { it.disabled = true; });
  try {
    showReceipt(await api("/v1/purges", order));
    if (!dry) showPurges();
  } catch (error) {
    said(make("p", { class: "bad" }, error.status === 401 ? error.message : `Nothing was purged. ${error.message}`));
  }
  buttons.forEach((it) => { it.disabled = false; });
  event.submitter?.focus();
});

function showReceipt(answer) {
  const matched = answer.dry_run ? answer : answer.matched;
  const size = matched ? `${count(matched.objects)} objects, ${bytes(matched.bytes)}` : "";
  if (answer.dry_run) {
    const samples = answer.samples.map((it) => make("li", {}, `${it.uri} (${it.status}, ${bytes(it.bytes)})`));
    return said(make("p", {}, `It would purge ${size}.`), make("ul", {}, ...samples));
  }
  const word = { applied: "Purged", logged: "Logged, and not applied everywhere yet", queued: "Queued until the log can be reached" }[answer.state] || answer.state;
  const missing = (answer.missing || []).map((it) => make("li", {}, `${it}: not applied yet`));
  said(make("p", {}, [word, size].filter(Boolean).join(": "), `. Its number is ${answer.sequence}.`), make("ul", {}, ...missing));
}

async function showPurges() {
  const page = await optional("/v1/purges?limit=20");
  const named = (it) => it.scopes.map((scope) => (typeof scope === "string" ? scope
    : Object.entries(scope).map(([kind, value]) => `${kind} ${typeof value === "string" ? value : JSON.stringify(value)}`).join(" "))).join(", ");
  table("table-purges", [
    amount("number", (it) => it.sequence, String), text("what", named), text("how", (it) => it.mode),
    text("by", (it) => it.by), text("when", (it) => it.accepted_at),
  ], page?.purges || [], "Nothing was purged lately.");
}

// Settings.
let settings = null;
async function showSettings() {
  settings = await optional("/v1/config");
  drawSettings();
}
function drawSettings() {
  const all = by("settings-all").checked;
  if (!settings) return by("settings-tables").replaceChildren(make("p", { class: "dim" }, "This token may not see them."));
  let left = SETTINGS_ROWS;
  const tables = settings.tables.map((it) => {
    const rows = it.settings.filter((row) => (all || row.given) && left-- > 0);
    if (!rows.length) return null;
    const body = rows.map((row) => make("tr", {}, make("td", {}, make("code", {}, row.key)),
      make("td", { class: row.given ? "t" : "t dim" }, row.meant ? make("em", {}, row.meant) : make("code", {}, row.value))));
    return make("div", {}, make("h3", {}, it.table), make("div", { class: "table" }, make("table", {}, make("tbody", {}, ...body))));
  });
  const parts = tables.filter(Boolean);
  if (left < 0) parts.push(make("p", { class: "dim" }, `${-left} more are not shown; GET /v1/config has them all.`));
  by("settings-tables").replaceChildren(...parts);
}
by("settings-all").addEventListener("change", drawSettings);

by("foot").textContent = location.host;
if (token) turn(); else leave();
