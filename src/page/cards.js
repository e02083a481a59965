/* A card a listener: what stands behind it, who is up, who does the work. */

const state = (td, node) => {
  const c = td.firstChild || td.appendChild(el("span"));
  if (node.state) chip(c, { up: "good", draining: "warn", down: "bad" }[node.state] || "", node.state);
  else chip(c, node.up ? "good" : "bad", node.up ? "up" : "down");
};

class Card {
  constructor(l) {
    this.history = new History();
    this.title = el("h2", {}, l.name || l.bind);
    this.kind = el("span", { class: "quiet" });
    const figures = el("dl", { class: "figures" });
    this.figures = new Figures(figures);
    this.section = el("section", { class: "card listener", "aria-label": `listener ${l.name || l.bind}` }, el("header", {}, this.title, this.kind, figures));
  }
  update(l, t, rates) {
    const now = this.history.now;
    say(this.title, l.name || l.bind);
    say(this.kind, [l.kind, l.forward && `by ${l.forward}`, l.bind].filter(Boolean).join(" · "));
    this.figures.show("requests", show.rate(now.rate));
    this.figures.show("clients", show.exact(l.clients));
    this.figures.show("p50", show.us(now.p50));
    this.figures.show("p99", show.us(now.p99));
    if (l.sessions != null) this.figures.show("sessions", show.exact(l.sessions));
    this.behind(l, t, (name, value) => rates.of(`${l.name}|${l.bind}|${name}`, value, t));
  }
}

class RedisCard extends Card {
  constructor(l) {
    super(l);
    this.colours = new Map(); /* address: colour, kept for as long as the page is open */
    this.only = null;
    this.map = new SlotMap();
    this.table = new Table("Nodes", [
      { title: "Node", cell: (td, n) => this.name(td, n) },
      { title: "State", cell: state },
      { title: "Role", wide: true, cell: (td, n) => say(td, n.role || NONE) },
      { title: "Slots", number: true, wide: true, cell: (td, n) => say(td, n.slots ? show.exact(n.slots) : NONE) },
      { title: "Requests", number: true, cell: (td, n) => say(td, show.rate(n.rate)) },
      { title: "In flight", number: true, wide: true, cell: (td, n) => say(td, show.exact(n.inflight)) },
      { title: "Latency", number: true, cell: (td, n) => say(td, n.latency_us ? show.us(n.latency_us) : NONE) },
      { title: "Lost", number: true, wide: true, cell: (td, n) => say(td, show.exact(n.lost)) },
    ]);
    this.section.append(el("div", { class: "redis" }, this.map.box, this.table.box));
  }
  name(td, n) {
    if (!td.firstChild) {
      const button = el("button", { type: "button" });
      button.addEventListener("click", () => this.alone(this.only === n.address ? null : n.address));
      td.append(el("div", { class: "row" }, el("span", { class: "dot" }), button));
    }
    const [dot, button] = td.firstChild.children;
    dot.style.background = n.slots ? n.colour : "";
    button.disabled = !n.slots;
    button.setAttribute("aria-pressed", this.only === n.address);
    say(button, n.address);
    button.title = n.name ? `${n.name}: show its slots alone` : "Show its slots alone";
  }
  alone(address) {
    this.only = address;
    this.map.highlight(address);
    for (const b of this.table.body.querySelectorAll("button")) b.setAttribute("aria-pressed", b.textContent === address);
  }
  colour(address) {
    if (!this.colours.has(address)) this.colours.set(address, colour(this.colours.size));
    return this.colours.get(address);
  }
  behind(l, t, rate) {
    const slots = l.slots || [];
    const nodes = (l.nodes || []).map(n => ({ ...n, slots: 0, first: SLOTS, rate: rate(n.address, n.requests || 0) }));
    for (const [first, last, i] of slots) {
      if (!nodes[i]) continue;
      nodes[i].slots += last - first + 1;
      nodes[i].first = Math.min(nodes[i].first, first);
    }
    const listed = [...nodes].sort((a, b) => a.first - b.first || (a.role || "").localeCompare(b.role || "") || a.address.localeCompare(b.address));
    for (const n of listed) if (n.slots) n.colour = this.colour(n.address);
    if (this.only && !nodes.some(n => n.address === this.only && n.slots)) this.alone(null);
    this.map.show(slots, nodes);
    this.table.show(listed, n => n.address);
  }
}

class MongoCard extends Card {
  constructor(l) {
    super(l);
    this.most = 1;
    this.table = new Table("Backends", [
      { title: "Backend", cell: (td, b) => this.name(td, b) },
      { title: "State", cell: state },
      { title: "Requests", number: true, cell: (td, b) => say(td, show.rate(b.rate)) },
      { title: "Sessions", number: true, cell: (td, b) => this.bar(td, b.sessions || 0) },
      { title: "Connections", number: true, wide: true, cell: (td, b) => say(td, show.exact(b.links ?? b.connections)) },
      { title: "In flight", number: true, wide: true, cell: (td, b) => say(td, show.exact(b.inflight)) },
      { title: "Weight", number: true, wide: true, cell: (td, b) => say(td, show.exact(b.weight)) },
    ]);
    this.section.append(this.table.box);
  }
  name(td, b) {
    if (!td.firstChild) td.append(el("div"), el("div", { class: "quiet" }));
    say(td.firstChild, b.name);
    say(td.lastChild, b.why || "");
  }
  bar(td, n) {
    if (!td.firstChild) td.append(el("div", { class: "bar" }, el("span", {}, el("i")), el("b")));
    const [track, text] = td.firstChild.children;
    track.firstChild.style.width = `${(100 * n) / this.most}%`;
    say(text, show.exact(n));
  }
  behind(l, t, rate) {
    const backends = (l.backends || []).map(b => ({ ...b, rate: rate(b.name, b.requests || 0) }));
    this.most = Math.max(1, ...backends.map(b => b.sessions || 0));
    this.table.show(backends, b => b.name);
  }
}
