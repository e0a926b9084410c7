// Charts over time, drawn as SVG in the pixels there are.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 150, LEFT = 54, RIGHT = 4, TOP = 8, BOTTOM = 18;

function shape(name, attributes, text) {
  const it = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) it.setAttribute(key, value);
  if (text !== undefined) it.textContent = text;
  return it;
}

// A round number that is not less.
function above(number) {
  if (!(number > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(number));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= number * 0.999);
}

class Chart {
  // `kind` is "lines" or "areas", one on the other; `read` writes an amount.
  constructor(place, kind, read, most) {
    Object.assign(this, { place, kind, read, most, points: [], lines: [], at: null });
    this.legend = place.parentElement.querySelector(".legend");
    this.name = place.parentElement.querySelector("figcaption").textContent;
    place.tabIndex = 0;
    place.setAttribute("role", "img");
    new ResizeObserver(() => this.draw()).observe(place);
    place.addEventListener("pointermove", (event) => this.point(event.offsetX));
    place.addEventListener("pointerleave", () => this.choose(null));
    place.addEventListener("blur", () => this.choose(null));
    place.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || !this.points.length) return;
      event.preventDefault();
      const from = this.at === null ? this.points.length : this.at;
      this.choose(Math.min(this.points.length - 1, Math.max(0, from + step)));
    });
  }

  // Points are { from, seconds } in seconds; lines are { name, values }, a value for each point.
  show(points, lines) {
    this.points = points;
    this.lines = lines;
    if (this.at !== null && this.at >= points.length) this.at = null;
    this.draw();
  }

  choose(at) { this.at = at; this.draw(); }

  point(x) {
    if (!this.points.length) return;
    const time = this.time(x);
    let at = this.points.findIndex((it) => time < it.from + it.seconds);
    if (at < 0) at = this.points.length - 1;
    if (at !== this.at) this.choose(at);
  }

  axis(value) {
    if (value === 0) return "0";
    return this.read === percent ? `${Math.round(value * 100)} %` : this.read(value);
  }

  time(x) { return this.begin + ((x - LEFT) / (this.width - LEFT - RIGHT)) * 3600; }
  x(time) { return LEFT + ((time - this.begin) / 3600) * (this.width - LEFT - RIGHT); }
  y(value) { return TOP + (1 - Math.min(value / this.top, 1)) * (HEIGHT - TOP - BOTTOM); }

  draw() {
    this.width = this.place.clientWidth;
    if (!this.width) return;
    const last = this.points.at(-1);
    this.end = last ? last.from + last.seconds : Date.now() / 1000;
    this.begin = this.end - 3600;
    const svg = shape("svg", { "aria-hidden": "true" });
    const tops = this.kind === "areas" ? this.sums() : this.lines.flatMap((it) => it.values);
    this.top = this.most || above(Math.max(0, ...tops.filter((it) => it !== null)));
    for (const part of [0, 0.5, 1]) {
      const y = this.y(this.top * part);
      svg.append(shape("line", { class: "grid", x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y }));
      svg.append(shape("text", { x: LEFT - 5, y: y + 4, "text-anchor": "end" }, this.axis(this.top * part)));
    }
    const marks = [[60, "start"], [45, "middle"], [30, "middle"], [15, "middle"], [0, "end"]];
    for (const [minutes, anchor] of marks.filter(([minutes]) => this.width > 420 || minutes % 30 === 0)) {
      const text = minutes ? `−${minutes} min` : "now";
      svg.append(shape("text", { x: this.x(this.end - minutes * 60), y: HEIGHT - 4, "text-anchor": anchor }, text));
    }
    if (this.kind === "areas") this.areas(svg); else this.strokes(svg);
    const chosen = this.at === null ? last : this.points[this.at];
    if (chosen && this.at !== null) {
      const x = this.x(chosen.from + chosen.seconds / 2);
      svg.append(shape("line", { class: "at", x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM }));
    }
    this.place.replaceChildren(svg);
    this.tell(chosen);
  }

  tell(chosen) {
    const at = this.at === null ? this.points.length - 1 : this.at;
    const told = this.lines.map((it) => {
      const value = it.values[at];
      return [it.name, value === null || value === undefined ? NONE : this.read(value)];
    });
    const parts = told.map(([name, value], line) =>
      make("span", {}, make("i", { class: `c${line % 6}` }), `${name} ${value}`));
    if (this.at !== null && chosen) {
      parts.unshift(make("span", {}, new Date(chosen.from * 1000).toLocaleTimeString()));
    }
    this.legend.replaceChildren(...parts);
    this.place.setAttribute("aria-label", `${this.name}: ${told.map((it) => it.join(" ")).join(", ") || "nothing yet"}`);
  }

  sums() { return this.points.map((_, at) => this.lines.reduce((sum, it) => sum + (it.values[at] || 0), 0)); }

  // Each point is a step from its begin to its end.
  areas(svg) {
    const base = this.points.map(() => 0);
    this.lines.forEach((it, line) => {
      const upper = [], lower = [];
      this.points.forEach((point, at) => {
        const [from, to] = [this.x(point.from), this.x(point.from + point.seconds)];
        const low = this.y(base[at]);
        base[at] += it.values[at] || 0;
        const high = this.y(base[at]);
        upper.push(`${from},${high} ${to},${high}`);
        lower.unshift(`${to},${low} ${from},${low}`);
      });
      if (upper.length) svg.append(shape("path", { class: `area c${line % 6}`, d: `M${upper.join(" L")} L${lower.join(" L")}Z` }));
    });
  }

  strokes(svg) {
    this.lines.forEach((it, line) => {
      let path = "", pen = "M";
      this.points.forEach((point, at) => {
        const value = it.values[at];
        if (value === null || value === undefined) { pen = "M"; return; }
        const x = this.x(point.from + point.seconds / 2);
        // A value between two gaps is seen, too.
        path += pen === "M" ? `M${x - 1.5},${this.y(value)} L${x + 1.5},${this.y(value)} ` : `L${x},${this.y(value)} `;
        pen = "L";
      });
      if (path) svg.append(shape("path", { class: `line c${line % 6}`, d: path }));
    });
  }
}
