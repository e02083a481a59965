/* What /status says is cumulative; what the page shows are the differences. */

const SPAN = 300; /* seconds of history */
const WINDOW = 5; /* seconds over which percentiles and costs are taken: one second of a calm listener is too little for a p99 */

/* Per second, of any counter by name. null: not known yet, or the counter began again. */
class Rates {
  constructor() {
    this.last = new Map();
  }
  of(name, value, t) {
    const was = this.last.get(name);
    this.last.set(name, { value, t });
    return was && t > was.t && value >= was.value ? (value - was.value) / (t - was.t) : null;
  }
  /* Names nobody has asked about for a minute: nodes that have left. */
  forget(t) {
    for (const [name, was] of this.last) if (was.t < t - 60) this.last.delete(name);
  }
}

/* The value below which a share q of the observations lies. below: how many lie below each bound, and at last how many there are. */
function percentile(bounds, below, q) {
  const wanted = q * below.at(-1);
  if (!wanted) return null;
  const i = below.findIndex(n => n >= wanted);
  if (i >= bounds.length) return bounds.at(-1);
  const [low, before] = i ? [bounds[i - 1], below[i - 1]] : [0, 0];
  return low + ((bounds[i] - low) * (wanted - before)) / (below[i] - before);
}

/* A listener's last minutes. points: { t, rate, p50, p99 }, values null where there were none. */
class History {
  constructor() {
    this.points = [];
    this.raw = [];
  }
  add(t, l) {
    const last = this.raw.at(-1);
    if (last && t <= last.t) return;
    const now = { t, requests: l.requests || 0, below: l.latency?.counts || [], calls: l.policy?.calls || 0, ns: l.policy?.ns || 0 };
    if (last && now.requests < last.requests) this.raw = []; /* another process */
    this.raw.push(now);
    while (this.raw.length > 2 && this.raw[1].t <= t - WINDOW) this.raw.shift();
    const before = this.raw.at(-2);
    const first = this.raw[0];
    const below = now.below.map((n, i) => n - (first.below[i] || 0));
    const bounds = l.latency?.bounds_us || [];
    if (before || this.points.length) this.points.push({
      t,
      rate: before ? (now.requests - before.requests) / (t - before.t) : null,
      p50: before ? percentile(bounds, below, 0.5) : null,
      p99: before ? percentile(bounds, below, 0.99) : null,
    });
    while (this.points[0]?.t < t - SPAN) this.points.shift();
    this.callRate = before ? (now.calls - before.calls) / (t - before.t) : null;
    this.cost = now.calls > first.calls ? (now.ns - first.ns) / (now.calls - first.calls) : now.calls ? now.ns / now.calls : null;
  }
  get now() {
    return this.points.at(-1) || {};
  }
}
