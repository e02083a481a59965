"use strict";
/* What the page is made of: elements, figures as people read them, tables that keep their rows. What the server says is only ever put in as text. */

const $ = id => document.getElementById(id);

const el = (tag, attributes = {}, ...children) => {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...children);
  return e;
};
const say = (e, text) => {
  if (e.textContent !== String(text)) e.textContent = text;
};
const chip = (e, kind, text) => {
  e.className = `chip ${kind}`;
  say(e, text);
};

const NONE = "–";
const digits = v => (v >= 99.5 ? Math.round(v).toLocaleString("en") : v >= 0.995 ? v.toFixed(1) : v ? v.toFixed(2) : "0");
const show = {
  number: v => (v == null ? NONE : v < 1e4 ? digits(v) : v < 1e6 ? `${digits(v / 1e3)}k` : v < 1e9 ? `${digits(v / 1e6)}M` : `${digits(v / 1e9)}G`),
  exact: v => (v == null ? NONE : Number(v).toLocaleString("en")),
  rate: v => (v == null ? NONE : `${show.number(v)}/s`),
  us: v => (v == null ? NONE : v < 999.5 ? `${digits(v)} µs` : v < 999500 ? `${digits(v / 1e3)} ms` : `${digits(v / 1e6)} s`),
  ns: v => (v == null ? NONE : v < 9950 ? `${digits(v)} ns` : show.us(v / 1e3)),
  bytes: v => (v == null ? NONE : v < 1 << 30 ? `${digits(v / (1 << 20))} MiB` : `${digits(v / 2 ** 30)} GiB`),
  clock: t => new Date(t * 1000).toLocaleTimeString("en-GB"),
  duration: s => {
    const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
    const i = units.findIndex(([n]) => s >= n);
    if (i < 0) return "0 s";
    const [[n, unit], next] = [units[i], units[i + 1]];
    return `${Math.floor(s / n)} ${unit}${next ? ` ${Math.floor((s % n) / next[0])} ${next[1]}` : ""}`;
  },
};

/* Ten colours that go with both themes; from there on hues that lie far apart. */
const COLOURS = ["#4c7bd9", "#e39b2d", "#3fa66b", "#d4604f", "#9069cf", "#36a3b5", "#d977ab", "#8f9b3c", "#a9785a", "#7c8a99"];
const colour = i => COLOURS[i] || `hsl(${Math.round(i * 137.508) % 360} 50% ${48 + (i % 3) * 8}%)`;

/* columns: { title, wide, number, cell(td, item) }; wide: not on a phone. Rows live on under their key, so nothing flickers and a selection stays. */
class Table {
  constructor(caption, columns) {
    this.columns = columns;
    this.rows = new Map();
    this.body = el("tbody");
    const head = columns.map(c => el("th", { scope: "col", class: this.classes(c) }, c.title));
    const table = el("table", {}, el("caption", { class: "unseen" }, caption), el("thead", {}, el("tr", {}, ...head)), this.body);
    this.box = el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": caption }, table);
  }
  classes(c) {
    return `${c.number ? "n" : ""} ${c.wide ? "wide" : ""}`;
  }
  show(items, key) {
    const gone = new Set(this.rows.keys());
    items.forEach((item, i) => {
      const k = key(item);
      gone.delete(k);
      if (!this.rows.has(k)) this.rows.set(k, el("tr", {}, ...this.columns.map(c => el("td", { class: this.classes(c) }))));
      const row = this.rows.get(k);
      if (this.body.children[i] !== row) this.body.insertBefore(row, this.body.children[i] || null);
      this.columns.forEach((c, n) => c.cell(row.children[n], item));
    });
    for (const k of gone) {
      this.rows.get(k).remove();
      this.rows.delete(k);
    }
  }
}

/* A description list of name and figure, kept by name. */
class Figures {
  constructor(list) {
    this.list = list;
    this.cells = new Map();
  }
  show(name, text, kind = "") {
    if (!this.cells.has(name)) {
      const dd = el("dd");
      this.list.append(el("div", {}, el("dt", {}, name), dd));
      this.cells.set(name, dd);
    }
    const dd = this.cells.get(name);
    say(dd, text);
    dd.className = kind;
  }
}
