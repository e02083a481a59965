"""Redis: where keys land. Looks at the nodes themselves, which must be known (the demo's, or --nodes)."""
from checks import Failed, Skip, check, expect
from redis_run import RedisRun as Run
from resp import Error
from slots import slot

SLOTS = 16384


class Nodes:
    """Connections to the nodes behind the target, and what they say of slots."""

    def __init__(self, r: Run):
        if not r.target.nodes:
            raise Skip("the nodes behind the target are not known", "--nodes HOST:PORT of one that can be reached from here")
        self.run, self.open, said = r, {}, None
        try:
            for address in r.target.nodes:
                try:
                    said = self.at(address).command("CLUSTER", "SLOTS")
                except OSError:
                    continue
                if not isinstance(said, Error):
                    break
            self.table(said)
        except BaseException:
            self.close()
            raise

    def table(self, said):
        if said is None:
            raise Failed("none of the nodes can be reached", "--nodes must name addresses that work from here")
        if isinstance(said, Error):
            raise Failed(f"CLUSTER SLOTS of the nodes: {said}",
                         "they must be nodes of a Redis Cluster; --nodes-password-file if theirs is another password")
        self.owner, self.replicas = {}, set()
        for first, last, *nodes in said:
            addresses = [(n[0].decode(), n[1]) for n in nodes]
            self.owner |= dict.fromkeys(range(first, last + 1), addresses[0])
            self.replicas |= set(addresses[1:])

    @property
    def masters(self):
        return sorted(set(self.owner.values()))

    def at(self, address):
        if address not in self.open:
            self.open[address] = self.run.node(address)
        return self.open[address]

    def close(self):
        for c in self.open.values():
            c.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def name(address):
    return f"{address[0]}:{address[1]}"


@check("redis", "routing", "slots are counted as the nodes count them")
def key_slots(r: Run):
    samples = ["a", "123456789", "{user}.name", "x{user}y{z}", "{}a", "{a", "a}", "{{a}}", "", "ü", "k" * 1000, b"\0\xff"]
    with Nodes(r) as nodes:
        c = nodes.at(nodes.masters[0])
        for s in samples:
            expect(slot(s), c.command("CLUSTER", "KEYSLOT", s), f"the slot of {s!r:.40}")
        missing = SLOTS - len(nodes.owner)
        if missing:
            raise Failed(f"{missing} of {SLOTS} slots have no owner", "redis-cli --cluster check, and --cluster fix")
    return f"{SLOTS} slots, {len(nodes.masters)} masters, {len(nodes.replicas)} replicas"


@check("redis", "routing", "a key of every slot reaches its owner, and no other node")
def owners(r: Run):
    per_slot, i = {}, 0
    while len(per_slot) < SLOTS:
        k = f"{r.prefix}:o{i}"
        per_slot.setdefault(slot(k), k)
        i += 1
    names = {s: r.key(k[len(r.prefix) + 1 :]) for s, k in per_slot.items()}
    with Nodes(r) as nodes, r.wire() as c:
        wanted = sorted(names)
        for at in range(0, SLOTS, 2048):
            some = wanted[at : at + 2048]
            for s, said in zip(some, c.pipeline([("SET", names[s], s) for s in some])):
                expect(said, "OK", f"SET of a key of slot {s}", "puerta's log names a node that does not answer")
        counts = {}
        for m in nodes.masters:
            mine = [s for s in wanted if nodes.owner.get(s) == m]
            for at in range(0, len(mine), 2048):
                some = mine[at : at + 2048]
                for s, said in zip(some, nodes.at(m).pipeline([("GET", names[s]) for s in some])):
                    expect(said, b"%d" % s, f"slot {s} at its owner {name(m)}", "do slots move just now? Then run it again")
            counts[m] = len(mine)
        elsewhere(nodes, names)
    return ", ".join(f"{name(m)} has {n}" for m, n in counts.items())


def elsewhere(nodes, names):
    """A node that does not own a slot must say MOVED."""
    for m in nodes.masters:
        foreign = [s for s in range(0, SLOTS, 97) if nodes.owner[s] != m]
        for s, said in zip(foreign, nodes.at(m).pipeline([("GET", names[s]) for s in foreign])):
            if not isinstance(said, Error) or not said.startswith("MOVED"):
                raise Failed(f"{name(m)} answers {said!r:.80} for slot {s} of {name(nodes.owner[s])}, expected MOVED")


@check("redis", "routing", "keys of one {tag} land together")
def tags(r: Run):
    with Nodes(r) as nodes, r.wire() as c:
        for tag in ("a", "user:1000", "ü"):
            names = [r.key(f"{{{tag}}}{i}") for i in range(20)]
            expect(c.command("MSET", *(x for n in names for x in (n, 1))), "OK", "MSET")
            owner = nodes.owner[slot(names[0])]
            expect(nodes.at(owner).command("EXISTS", *names), 20, f"keys of {{{tag}}} at {name(owner)}")
            expect(c.command("RENAME", names[0], names[1]), "OK", "RENAME within a tag")


def calls(nodes, command):
    """How often each node has run it: INFO commandstats. None: it does not say."""
    out = {}
    for address in [*nodes.masters, *sorted(nodes.replicas)]:
        try:
            said = nodes.at(address).command("INFO", "commandstats")
        except OSError:
            continue
        if isinstance(said, Error):
            return None
        line = next((x for x in said.decode().splitlines() if x.startswith(f"cmdstat_{command}:")), None)
        out[address] = int(line.split("calls=")[1].split(",")[0]) if line else 0
    return out


@check("redis", "routing", "writes run at masters, reads where the policy says")
def reads(r: Run):
    n = 600
    names = [r.key(f"rd{i}") for i in range(n)]
    with Nodes(r) as nodes, r.wire() as c:
        before = {command: calls(nodes, command) for command in ("setrange", "strlen")}
        if None in before.values():
            raise Skip("the nodes do not show INFO commandstats", "--nodes-password-file of a user who may run INFO")
        c.pipeline([("SETRANGE", k, 0, "abc") for k in names])
        c.pipeline([("STRLEN", k) for k in names])
        grown = {}
        for command, was in before.items():
            now = calls(nodes, command)
            grown[command] = {a: now[a] - was[a] for a in was if a in now}
        at_masters = {command: sum(g for a, g in by.items() if a in nodes.masters) for command, by in grown.items()}
        if at_masters["setrange"] < n:
            raise Failed(f"{at_masters['setrange']} of {n} writes were seen at the masters")
        total = sum(grown["strlen"].values())
        if total < n:
            raise Failed(f"{total} of {n} reads were seen at the nodes", "are there nodes that cannot be reached from here?")
    replicas = total - at_masters["strlen"]
    return "reads come from the masters" if not replicas else f"{100 * replicas // total} % of the reads come from replicas"
