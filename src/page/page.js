/* Asks /status and /log each second and shows what they say; says so when nobody answers, and goes on asking. */

const EVERY = 1000, PATIENCE = 4000; /* ms */
const KEPT = "puerta-admin-token";

const cards = new Map();
const rates = new Rates();
const tiles = new Figures($("tiles"));
const traffic = new Chart("Requests per second", "by listener", show.number, linear);
const latency = new Chart("Latency", "p99, dotted p50", show.us, logarithmic);
$("charts").append(traffic.figure, latency.figure);

const totals = new Figures(el("dl"));
$("totals").append(totals.list);

const policies = new Table("Policies", [
  { title: "Listener", cell: (td, p) => say(td, p.listener) },
  { title: "Policy", cell: (td, p) => say(td, p.name || NONE) },
  { title: "Calls", number: true, wide: true, cell: (td, p) => say(td, show.rate(p.rate)) },
  { title: "Per call", number: true, cell: (td, p) => say(td, show.ns(p.cost)) },
  { title: "Failures", number: true, cell: (td, p) => say(td, show.exact(p.failures)) },
  {
    title: "State", cell: (td, p) => chip(td.firstChild || td.appendChild(el("span")), p.suspended ? "bad" : "good", p.suspended ? "suspended" : "active"),
  },
]);
$("policies").append(policies.box);

function showTiles(s, t) {
  const n = s.totals || {};
  const sum = [...cards.values()].reduce((a, c) => (c.history.now.rate == null ? a : (a ?? 0) + c.history.now.rate), null);
  tiles.show("Requests", show.rate(sum));
  tiles.show("Clients", show.exact(s.clients));
  tiles.show("New clients", show.rate(rates.of("accepted", n.accepted || 0, t)));
  tiles.show("Memory", show.bytes(s.memory?.rss));
  const failfast = rates.of("failfast", n.failfast || 0, t), lost = rates.of("lost", n.lost || 0, t);
  const failed = failfast == null || lost == null ? null : failfast + lost;
  tiles.show("Node errors", show.rate(failed), failed ? "bad" : "");
  tiles.show("Policy errors", show.exact(n.policy_failures), n.policy_failures ? "bad" : "");
  document.title = `${show.rate(sum)} · puerta`;
}

function showListeners(s, t) {
  const listeners = s.listeners || [];
  const seen = new Set();
  for (const l of listeners) {
    const key = `${l.kind} ${l.name} ${l.bind}`;
    seen.add(key);
    if (!cards.has(key)) {
      cards.set(key, l.kind === "mongodb" ? new MongoCard(l) : new RedisCard(l));
      $("listeners").append(cards.get(key).section);
    }
    const card = cards.get(key);
    card.history.add(t, l);
    card.policy = { ...l.policy, listener: l.name || l.bind, rate: card.history.callRate, cost: card.history.cost };
    card.update(l, t, rates);
  }
  for (const [key, card] of cards) {
    if (seen.has(key)) continue;
    card.section.remove();
    cards.delete(key);
  }
  policies.show([...cards.values()].map(c => c.policy), p => p.listener);
  say($("aborts"), s.trace_aborts ? `${show.exact(s.trace_aborts)} aborted traces of the JIT compiler since the start` : "");
}

function showCharts() {
  const all = [...cards.values()].map((c, i) => ({ name: c.policy.listener, colour: colour(i), points: c.history.points, now: c.history.now }));
  const times = [...new Set(all.flatMap(c => c.points.map(p => p.t)))].sort((a, b) => a - b);
  const line = (c, what, more) => ({ name: c.name, colour: c.colour, points: c.points.map(p => ({ t: p.t, v: p[what] })), ...more });
  traffic.show(all.map(c => line(c, "rate", { latest: show.rate(c.now.rate) })), times);
  latency.show(
    all.flatMap(c => [
      line(c, "p50", { faint: true, part: "p50" }),
      line(c, "p99", { part: "p99", latest: `p50 ${show.us(c.now.p50)}, p99 ${show.us(c.now.p99)}` }),
    ]),
    times,
  );
}

function showStatus(s) {
  const t = s.time;
  chip($("state"), { ready: "good", draining: "warn" }[s.state] || "", s.state);
  say(
    $("about"),
    [`v${s.version}`, `up ${show.duration(s.uptime_s)}`, `generation ${s.generation}`, `${s.workers} ${s.workers === 1 ? "worker" : "workers"}`, `pid ${s.pid}`].join(" · "),
  );
  showListeners(s, t);
  showTiles(s, t);
  showCharts();
  for (const [name, value] of Object.entries(s.totals || {})) if (typeof value === "number") totals.show(name.replaceAll("_", " "), show.exact(value));
  rates.forget(t);
  $("main").hidden = false;
}

let logged = "";
function showLog(lines) {
  const list = $("log");
  const text = JSON.stringify(lines);
  if (text === logged) return;
  logged = text;
  const below = list.scrollHeight - list.scrollTop - list.clientHeight < 24; /* whoever has scrolled up is left there */
  list.replaceChildren(
    ...lines.map(l => {
      const level = ["debug", "info", "warn", "error"].includes(l.level) ? l.level : "";
      const at = typeof l.ts === "number" ? new Date(l.ts * 1000) : new Date(l.ts);
      const time = isNaN(at) ? String(l.ts) : at.toLocaleTimeString("en-GB");
      return el("li", { class: level }, el("time", {}, time), el("b", {}, String(l.level)), el("span", { class: "event" }, String(l.event)), String(l.msg));
    }),
  );
  if (below) list.scrollTop = list.scrollHeight;
}

/* ---- asking ---- */

class Refused extends Error {}

async function get(path) {
  const token = sessionStorage.getItem(KEPT);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const reply = await fetch(path, { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
  if (reply.status === 401) throw new Refused();
  if (!reply.ok) throw new Error(`it answers ${reply.status} for ${path}`);
  return reply.json();
}

let answered = null;
function gone(why) {
  const since = answered ? `since ${show.clock(answered)}` : "yet";
  say($("notice"), `No answer from puerta ${since}${why ? ` (${why})` : ""}. What is shown is the last it said; asking again each second.`);
  $("notice").hidden = false;
  $("main").classList.add("stale");
  chip($("state"), "bad", "no answer");
  document.title = "no answer · puerta";
}
function back() {
  answered = Date.now() / 1000;
  $("notice").hidden = true;
  $("main").classList.remove("stale");
}

function askToken() {
  say($("refused"), sessionStorage.getItem(KEPT) ? "That token was refused." : "");
  sessionStorage.removeItem(KEPT);
  $("notice").hidden = true;
  $("ask").hidden = false;
  chip($("state"), "warn", "token needed");
  $("token").focus();
}
$("ask").addEventListener("submit", e => {
  e.preventDefault();
  sessionStorage.setItem(KEPT, $("token").value.trim());
  $("token").value = "";
  $("ask").hidden = true;
  turn();
});

async function turn() {
  const began = performance.now();
  try {
    const [status, lines] = await Promise.all([get("status"), get("log").catch(() => null)]);
    back();
    showStatus(status);
    if (lines) showLog(lines);
  } catch (e) {
    if (e instanceof Refused) return askToken();
    gone(e instanceof TypeError || e.name === "TimeoutError" ? "" : e.message);
  }
  setTimeout(turn, Math.max(100, EVERY - (performance.now() - began)));
}
turn();
