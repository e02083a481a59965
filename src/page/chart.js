/* Lines over time as SVG: a scale that fits, values under the pointer, or by the arrow keys when it has the focus. */

const SVG = "http://www.w3.org/2000/svg";
const svg = (tag, attributes = {}, text) => {
  const e = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  if (text != null) e.textContent = text;
  return e;
};

const LEFT = 56, RIGHT = 10, TOP = 8, BOTTOM = 22;

/* Marks from 0 to above the highest value: 3 to 5 round ones. */
function linear(values) {
  const top = Math.max(4, ...values);
  const rough = top / 4;
  const ten = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map(n => n * ten).find(n => n >= rough);
  const marks = [];
  for (let v = 0; v < top + step; v += step) marks.push(v);
  return { marks, at: v => v / marks.at(-1) };
}

/* Powers of ten that hold all values; in between 3 when they are few. */
function logarithmic(values) {
  const some = values.filter(v => v > 0);
  const low = Math.floor(Math.log10(Math.max(1, Math.min(...some, 1e3))));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...some, 2))));
  const marks = [];
  for (let e = low; e <= high; e++) marks.push(10 ** e, ...(high - low < 3 && e < high ? [3 * 10 ** e] : []));
  return { marks, at: v => Math.max(0, (Math.log10(Math.max(v, 1)) - low) / (high - low)) };
}

class Chart {
  /* format: a value as text. scale: linear or logarithmic. */
  constructor(title, note, format, scale) {
    Object.assign(this, { title, format, scale, series: [], index: null });
    this.svg = svg("svg", { role: "img", tabindex: 0 });
    this.tip = el("div", { class: "tip", role: "status" });
    this.tip.hidden = true;
    this.legend = el("ul", { class: "legend" });
    this.figure = el("figure", { class: "chart" }, el("figcaption", {}, title, el("small", {}, note)), this.svg, this.tip, this.legend);
    this.svg.addEventListener("pointermove", e => this.point(e.offsetX));
    this.svg.addEventListener("pointerdown", e => this.point(e.offsetX));
    this.svg.addEventListener("pointerleave", () => this.pick(null));
    this.svg.addEventListener("blur", () => this.pick(null));
    this.svg.addEventListener("keydown", e => this.key(e));
    new ResizeObserver(() => this.draw()).observe(this.svg);
  }

  /* series: { name, colour, faint, points: [{ t, v }], latest }; times: those of the samples, oldest first. */
  show(series, times) {
    if (this.index != null) this.index -= Math.max(0, this.shift(times));
    this.series = series;
    this.times = times;
    this.draw();
    const named = series.filter(s => s.latest);
    while (this.legend.children.length > named.length) this.legend.lastChild.remove();
    named.forEach((s, i) => {
      const item = this.legend.children[i] || this.legend.appendChild(el("li", {}, el("span", { class: "dot" }), el("span")));
      item.firstChild.style.background = s.colour;
      say(item.lastChild, `${s.name}  ${s.latest}`);
    });
    this.svg.setAttribute("aria-label", `${this.title}: ${named.map(s => `${s.name} ${s.latest}`).join(", ")}`);
  }
  /* How many samples have fallen off the front: what is pointed at stays pointed at. */
  shift(times) {
    return this.times ? this.times.indexOf(times[0]) : 0;
  }

  x(t) {
    return LEFT + (this.width - LEFT - RIGHT) * (1 - (this.now - t) / this.span);
  }
  y(v) {
    return TOP + (this.height - TOP - BOTTOM) * (1 - this.fit.at(v));
  }

  draw() {
    this.width = this.svg.clientWidth;
    this.height = this.svg.clientHeight;
    if (!this.times?.length || !this.width) return;
    this.now = this.times.at(-1);
    this.span = Math.min(SPAN, Math.max(60, this.now - this.times[0]));
    this.fit = this.scale(this.series.flatMap(s => s.points.map(p => p.v).filter(v => v != null)));
    const parts = [];
    for (const mark of this.fit.marks) {
      const y = Math.round(this.y(mark));
      parts.push(svg("line", { class: "grid", x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y }));
      parts.push(svg("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, this.format(mark).replace(/\.0+(?=\D|$)/, "")));
    }
    const step = this.span > 150 ? 60 : this.span > 75 ? 30 : 15;
    for (let ago = 0; ago < this.span - step / 3; ago += step) {
      const text = ago === 0 ? "now" : ago % 60 ? `−${ago} s` : `−${ago / 60} min`;
      parts.push(svg("text", { x: this.x(this.now - ago), y: this.height - 5, "text-anchor": ago ? "middle" : "end" }, text));
    }
    for (const s of this.series) {
      const path = svg("path", { d: this.line(s.points), class: s.faint ? "faint" : "" });
      path.style.stroke = s.colour;
      parts.push(path);
    }
    this.over = svg("g");
    this.svg.replaceChildren(...parts, this.over);
    this.mark();
  }
  line(points) {
    let d = "", last = null;
    for (const p of points) {
      const broken = last == null || p.t - last > 5;
      if (p.v != null) d += `${broken ? "M" : "L"}${this.x(p.t).toFixed(1)} ${this.y(p.v).toFixed(1)}`;
      if (p.v != null && broken) d += "h0"; /* a lonely point shows as a dot */
      last = p.v == null ? null : p.t;
    }
    return d;
  }

  point(px) {
    if (!this.times?.length) return;
    const t = this.now - (1 - (px - LEFT) / (this.width - LEFT - RIGHT)) * this.span;
    let best = 0;
    this.times.forEach((x, i) => {
      if (Math.abs(x - t) < Math.abs(this.times[best] - t)) best = i;
    });
    this.pick(best);
  }
  key(e) {
    const move = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30, Home: -SPAN * 2, End: SPAN * 2 }[e.key];
    if (e.key === "Escape") this.pick(null);
    if (!move || !this.times?.length) return;
    e.preventDefault();
    this.pick((this.index ?? this.times.length - 1) + move);
  }
  pick(index) {
    this.index = index == null ? null : Math.max(0, Math.min(index, this.times.length - 1));
    this.mark();
  }

  /* The hair line, a dot on each line, and the values. */
  mark() {
    this.tip.hidden = this.index == null || this.index < 0;
    if (!this.over) return;
    this.over.replaceChildren();
    if (this.tip.hidden) return;
    const t = this.times[this.index], x = this.x(t);
    this.over.append(svg("line", { class: "hair", x1: x, x2: x, y1: TOP, y2: this.height - BOTTOM }));
    const lines = [];
    for (const s of this.series) {
      const p = s.points.find(q => q.t === t);
      if (p?.v == null) continue;
      const dot = svg("circle", { cx: x, cy: this.y(p.v), r: 4 });
      dot.style.fill = s.colour;
      this.over.append(dot);
      lines.push([p.v, `${s.name}${s.part ? ` ${s.part}` : ""}  ${this.format(p.v)}`]);
    }
    lines.sort((a, b) => b[0] - a[0]);
    say(this.tip, [show.clock(t), ...lines.slice(0, 8).map(l => l[1])].join("\n"));
    const room = this.figure.clientWidth - this.tip.offsetWidth - 8;
    this.tip.style.left = `${Math.max(8, Math.min(room, x + this.svg.offsetLeft + (x > this.width / 2 ? -this.tip.offsetWidth - 12 : 12)))}px`;
  }
}
