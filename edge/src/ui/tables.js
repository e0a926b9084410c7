// Tables: sorted by their headings, and what the node's documents become in them.

const sorts = new Map();

// Columns are { title, of, read }: the value of a row, and how it reads; without `read` it is a text.
function table(id, columns, rows, nothing) {
  const place = by(id);
  const label = place.previousElementSibling?.textContent || "";
  if (!rows.length) {
    place.replaceChildren(make("p", {}, nothing));
    return;
  }
  const sort = sorts.get(id);
  const shown = [...rows];
  if (sort && columns[sort.column]) {
    const of = columns[sort.column].of;
    const less = (one, other) => (typeof one === "number" || typeof other === "number"
      ? (one ?? -Infinity) - (other ?? -Infinity) : String(one).localeCompare(String(other)));
    shown.sort((one, other) => less(of(one), of(other)) * (sort.down ? -1 : 1));
  }
  const heading = columns.map((column, number) => {
    const order = sort?.column === number ? (sort.down ? "descending" : "ascending") : null;
    const turn = () => {
      sorts.set(id, { column: number, down: sort?.column === number ? !sort.down : Boolean(column.read) });
      table(id, columns, rows, nothing);
      by(id).querySelectorAll("th button")[number].focus();
    };
    return make("th", { scope: "col", class: column.read ? "n" : "", "aria-sort": order },
      make("button", { type: "button", on: turn }, column.title));
  });
  const body = shown.map((row) => make("tr", {}, ...columns.map((column) => {
    const value = column.of(row);
    if (column.read) return make("td", { class: "n" }, column.read(value));
    const text = value ?? NONE;
    return make("td", { class: "t" }, column.press
      ? make("button", { type: "button", on: () => column.press(row) }, text) : text);
  })));
  const { scrollTop, scrollLeft } = place;
  place.replaceChildren(make("table", { "aria-label": label }, make("thead", {}, make("tr", {}, ...heading)), make("tbody", {}, ...body)));
  place.scrollTop = scrollTop;
  place.scrollLeft = scrollLeft;
}

const text = (title, of, press) => ({ title, of, press });
const amount = (title, of, read) => ({ title, of, read });

function figures(names) {
  return [
    ...names,
    amount("req/s", (it) => it.requests_per_second, count),
    amount("hits", (it) => it.hit_ratio, percent),
    amount("bytes", (it) => it.byte_hit_ratio, percent),
    amount("offload", (it) => it.offload, percent),
    amount("p50", (it) => it.p50_ms, millis),
    amount("p99", (it) => it.p99_ms, millis),
    amount("errors", (it) => it.errors, count),
  ];
}

// The last minutes.
function showTables(stats, narrow) {
  const quiet = "No requests in this time.";
  table("table-outcomes", [
    text("outcome", (it) => it.name),
    amount("req/s", (it) => it.requests_per_second, count),
    amount("share", (it) => it.requests / stats.window.requests, percent),
    amount("p50", (it) => it.p50_ms, millis),
    amount("p99", (it) => it.p99_ms, millis),
  ], stats.outcomes, quiet);
  const misses = stats.reasons.reduce((sum, it) => sum + it.requests, 0);
  table("table-reasons", [
    text("reason", (it) => it.reason),
    amount("requests", (it) => it.requests, count),
    amount("share", (it) => it.requests / misses, percent),
  ], stats.reasons, "Every request was a hit, or there was none.");
  const url = (title, read) => [
    text("URL", (it) => it.url),
    text("site", (it) => it.site, (it) => narrow(it.site, "")),
    amount(title, (it) => it.count, read),
  ];
  table("table-misses", url("misses", count), stats.top.misses, "No misses lately.");
  table("table-bytes", url("sent", bytes), stats.top.bytes, "Nothing much was sent lately.");
  table("table-sites", figures([text("site", (it) => it.name, (it) => narrow(it.name, ""))]), stats.sites, quiet);
  table("table-rules", figures([
    text("site", (it) => it.site, (it) => narrow(it.site, "")),
    text("rule", (it) => it.rule, (it) => narrow(it.site, it.rule)),
  ]), stats.rules, quiet);
  const used = (some, all) => (all > 0 ? some / all : null);
  const memory = stats.memory;
  const stored = [
    { where: "memory", state: `${count(memory.objects)} objects`, size: memory.bytes_max, full: used(memory.bytes, memory.bytes_max), evicted: memory.evictions, faults: null },
    ...stats.disks.map((it) => ({
      where: it.path, state: it.offline ? "out of service" : `read ${bytes(it.bytes_read)}, written ${bytes(it.bytes_written)}`,
      size: it.bytes_max, full: used(it.segments - it.segments_free, it.segments), evicted: it.evicted, faults: it.faults,
    })),
  ];
  table("table-storage", [
    text("where", (it) => it.where), text("state", (it) => it.state),
    amount("size", (it) => it.size, bytes), amount("full", (it) => it.full, percent),
    amount("evicted", (it) => it.evicted, count), amount("faults", (it) => it.faults, count),
  ], stored, "None.");
}

// What only some nodes have.
function showBeyond(stats, status, origins, curve) {
  table("table-parents", [
    text("parent", (it) => it.node || it.id), text("state", (it) => it.state),
    amount("in flight", (it) => it.in_flight, count), amount("answers", (it) => it.answers, count),
    amount("stored there", (it) => (it.answers ? it.hits / it.answers : null), percent), amount("hop", (it) => it.hop_ms, millis),
    text("last fault", (it) => it.fault),
  ], status?.tier?.parents || [], "None: what is missing comes from the origins.");
  if (origins?.origins) {
    table("table-origins", [
      text("origin", (it) => it.server || it.origin), text("site", (it) => it.site), text("state", (it) => it.state),
      amount("under way", (it) => it.under_way, count), amount("waiting", (it) => it.waiting, count),
      amount("lately", (it) => it.recent_requests, count), amount("failed", (it) => it.recent_failures, count),
    ], origins.origins, "None.");
  } else {
    const asked = stats.origin.kinds.filter((it) => it.requests || it.bytes);
    table("table-origins", [
      text("asked to", (it) => it.kind), amount("requests", (it) => it.requests, count), amount("received", (it) => it.bytes, bytes),
    ], asked, "No origin was asked in this time.");
  }
  const change = (it) => (it.change === "policy" ? `${it.policy} instead` : `${it.change} × ${it.factor}`);
  const band = (it, name) => `${percent(it[name])} ± ${(it[`${name}_error`] * 100).toFixed(1)}`;
  const filling = (it) => it.filled !== undefined;
  const sizes = [...(curve?.points || []), ...(curve?.state === "told" ? curve.filling : [])];
  const quiet = {
    reading: () => "The disks are being read back.",
    "no-requests": () => "There were no requests yet.",
  }[curve?.state] || (() => `Too little is known yet: ${count(curve.sampled_objects)} of ${count(curve.sampled_objects_min)} sampled objects.`);
  table("table-curve", [
    text("with", change),
    text("hits", (it) => (filling(it) ? `filling: ${percent(it.filled)}` : band(it, "request_hit_ratio"))),
    text("bytes", (it) => (filling(it) ? NONE : band(it, "byte_hit_ratio"))),
  ], sizes, curve ? quiet() : "This node does not measure other sizes.");
  showMap(stats, status);
}

// From the client to the origin: how much each of them answered.
function showMap(stats, status) {
  const all = stats.window.requests;
  const of = (name) => stats.tiers.find((it) => it.name === name);
  const step = (title, share, ...about) => make("li", {}, make("b", {}, title), make("span", { class: "share" }, share), ...about.map((it) => make("small", {}, it)));
  const share = (it) => (all ? percent((it?.requests || 0) / all) : NONE);
  const answers = (it) => (it ? `p50 ${millis(it.p50_ms)}, p99 ${millis(it.p99_ms)}` : "answered nothing");
  const steps = [
    step("Clients", `${count(stats.window.requests_per_second)}/s`, `connections: ${count(stats.connections)}`, `${bytes(stats.window.bytes_per_second)}/s sent`),
    step("Memory", share(of("memory")), answers(of("memory")), `${bytes(stats.memory.bytes)} of ${bytes(stats.memory.bytes_max)}`),
  ];
  if (stats.disks.length || of("disk")) {
    const lost = stats.disks.filter((it) => it.offline).length;
    steps.push(step("Disks", share(of("disk")), answers(of("disk")), lost ? `${lost} out of service` : `${stats.disks.length} in service`));
  }
  const parents = status?.tier?.parents || [];
  if (parents.length || of("parent")) {
    const up = parents.filter((it) => it.state === "up").length;
    const cost = status?.tier ? [`${count(status.tier.origin_requests)} requests at origins, all told`] : [];
    steps.push(step("Parents", share(of("parent")), answers(of("parent")), `${up} of ${parents.length} up`, ...cost));
  }
  steps.push(step("Origins", share(of("origin")), answers(of("origin")), `${count(stats.window.origin_requests_per_second)}/s asked, first byte ${millis(stats.origin.p50_ttfb_ms)}`));
  by("map").replaceChildren(...steps);
}
