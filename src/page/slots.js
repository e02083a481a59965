/* The 16384 slots, one pixel each, stretched to the room there is: by node in its colour, striped where nobody owns them. */

const SLOTS = 16384, COLUMNS = 256, ROWS = SLOTS / COLUMNS;

class SlotMap {
  constructor() {
    this.owner = new Int16Array(SLOTS).fill(-1);
    this.nodes = [];
    this.only = null; /* the address whose slots are shown alone */
    this.slot = null;
    this.canvas = el("canvas", { tabindex: 0, role: "img" });
    this.cursor = el("i");
    this.cursor.hidden = true;
    this.readout = el("output", { "aria-live": "polite" });
    this.box = el("div", {}, el("div", { class: "slots" }, this.canvas, this.cursor), this.readout);
    this.canvas.addEventListener("pointermove", e => this.point(e));
    this.canvas.addEventListener("pointerdown", e => this.point(e));
    this.canvas.addEventListener("pointerleave", () => this.pick(null));
    this.canvas.addEventListener("blur", () => this.pick(null));
    this.canvas.addEventListener("keydown", e => this.key(e));
  }

  /* ranges: [first, last, index in nodes]; nodes: { address, colour }. */
  show(ranges, nodes) {
    const key = JSON.stringify([ranges, nodes.map(n => n.colour)]);
    this.nodes = nodes;
    if (key !== this.key_shown) {
      this.key_shown = key;
      this.owner.fill(-1);
      for (const [first, last, node] of ranges) this.owner.fill(node, first, last + 1);
      this.orphans = this.owner.reduce((n, o) => n + (o < 0), 0);
      this.draw();
    }
    this.tell();
  }
  highlight(address) {
    this.only = address;
    this.draw();
  }

  draw() {
    this.canvas.width = COLUMNS; /* clears it */
    this.canvas.height = ROWS;
    const paint = this.canvas.getContext("2d");
    for (let first = 0, s = 1; s <= SLOTS; s++) {
      if (s < SLOTS && s % COLUMNS && this.owner[s] === this.owner[first]) continue;
      const node = this.nodes[this.owner[first]];
      const x = first % COLUMNS, y = Math.floor(first / COLUMNS);
      paint.globalAlpha = this.only && this.only !== node?.address ? 0.2 : 1;
      paint.fillStyle = node ? node.colour : "#8888";
      if (node) paint.fillRect(x, y, s - first, 1);
      else for (let i = x; i < x + s - first; i++) if ((i + y) % 6 < 3) paint.fillRect(i, y, 1, 1);
      first = s;
    }
    this.place();
  }

  point(e) {
    const x = Math.floor((e.offsetX / this.canvas.clientWidth) * COLUMNS);
    const y = Math.floor((e.offsetY / this.canvas.clientHeight) * ROWS);
    this.pick(Math.max(0, Math.min(SLOTS - 1, y * COLUMNS + Math.max(0, Math.min(x, COLUMNS - 1)))));
  }
  key(e) {
    const move = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -COLUMNS, ArrowDown: COLUMNS, Home: -SLOTS, End: SLOTS }[e.key];
    if (e.key === "Escape") this.pick(null);
    if (!move) return;
    e.preventDefault();
    this.pick(this.slot == null ? 0 : Math.max(0, Math.min(SLOTS - 1, this.slot + move)));
  }
  pick(slot) {
    this.slot = slot;
    this.place();
    this.tell();
  }

  place() {
    this.cursor.hidden = this.slot == null;
    if (this.slot == null) return;
    this.cursor.style.left = `${(((this.slot % COLUMNS) + 0.5) / COLUMNS) * 100}%`;
    this.cursor.style.top = `${((Math.floor(this.slot / COLUMNS) + 0.5) / ROWS) * 100}%`;
    this.cursor.style.background = this.nodes[this.owner[this.slot]]?.colour || "transparent";
  }
  tell() {
    const owners = new Set(this.owner.filter(o => o >= 0)).size;
    const all = `${SLOTS - this.orphans} slots on ${owners} ${owners === 1 ? "node" : "nodes"}${this.orphans ? `, ${this.orphans} without an owner` : ""}`;
    this.canvas.setAttribute("aria-label", `Slot map: ${all}. Arrow keys tell the owner of a slot.`);
    if (this.slot == null) return say(this.readout, all);
    const owner = this.owner[this.slot];
    let first = this.slot, last = this.slot;
    while (first > 0 && this.owner[first - 1] === owner) first--;
    while (last < SLOTS - 1 && this.owner[last + 1] === owner) last++;
    say(this.readout, `slot ${this.slot} · ${this.nodes[owner]?.address ?? "no owner"} · range ${first}–${last}`);
  }
}
