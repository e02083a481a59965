"""Which Puerta is checked: the one named, the demos that run here, or one of our own."""
import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPENDENCIES = {"redis": ["build", "demo"], "mongo": ["build", "ferret"]}  # groups of tools/deps.sh, for one of our own
DEMOS = {"redis": "demo", "mongo": "demo-mongodb"}


@dataclass
class Target:
    """A Puerta and how to reach it."""
    kind: str
    host: str
    port: int
    source: str
    nodes: list = field(default_factory=list)  # (host, port) of what is behind it, as far as we may ask them
    forward: str = "connection"
    user: str | None = None
    password: str | None = None
    nodes_password: str | None = None
    tls: bool = False
    ca: str | None = None

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    @property
    def described(self):
        how = f', forward = "{self.forward}"' if self.kind == "mongo" else ""
        nodes = f", {len(self.nodes)} nodes known" if self.nodes else ""
        return f"{self.address} ({self.source}{how}{nodes})"


def split(address):
    host, _, port = address.rpartition(":")
    return host, int(port)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def demo(kind):
    """The targets of a demo that runs here: lines of the file that it keeps. None: none runs."""
    path = ROOT / os.environ.get("BUILD_DIR", "build") / f"{DEMOS[kind]}.running"
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
        pid = next(int(f[1]) for f in lines if f[0] == "pid")
        nodes = next([split(a) for a in f[1].split(",")] for f in lines if f[0] == "nodes")
        if not alive(pid):
            return None
        return [Target(kind, *split(f[1]), f"of make {DEMOS[kind]}", nodes, *f[2:]) for f in lines if f[0] == "target"]
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def whose(kind, args):
    return "given" if args.target else "demo" if not args.own and demo(kind) else "own"


def own_redis(stack):
    from cluster import Cluster
    from puerta import Puerta

    cluster = stack.enter_context(Cluster())
    p = Puerta.for_cluster(cluster)
    stack.callback(ended, p)
    return [Target("redis", "127.0.0.1", p.port, "its own, before a Redis Cluster of its own", [("127.0.0.1", n.port) for n in cluster.nodes])]


def own_mongo(stack):
    import puerta as rig
    from cluster import free_port
    from ferret import Ferrets, missing

    if missing():
        raise RuntimeError(missing())
    ferrets = stack.enter_context(Ferrets(3))
    ports = {"connection": free_port(), "request": free_port()}
    p = rig.Puerta(rig.config(*(rig.mongo_listener(ferrets, port, name=way, forward=way) for way, port in ports.items()), workers=rig.WORKERS))
    stack.callback(ended, p)
    nodes = [("127.0.0.1", f.port) for f in ferrets]
    return [Target("mongo", "127.0.0.1", port, "its own, before three FerretDB of its own", nodes, way) for way, port in ports.items()]


def ended(p):
    """Stops a Puerta of our own, which must have lived and must die well."""
    wrong = p.stop()
    if wrong:
        raise RuntimeError(wrong)


@contextlib.contextmanager
def targets(kind, args, report):
    """Those to check; what was started for it is stopped at the end. RuntimeError, TimeoutError, OSError: there is none."""
    if args.target:
        yield [Target(kind, *args.target, "--target", args.nodes, args.forward, args.user, args.password,
                      args.password if args.nodes_password is None else args.nodes_password, args.tls, args.ca)]
        return
    running = None if args.own else demo(kind)
    if running:
        yield running
        return
    report.say(f"{'' if args.own else f'make {DEMOS[kind]} does not run here: '}starting a Puerta and servers for {kind}")
    with contextlib.ExitStack() as stack:
        yield (own_redis if kind == "redis" else own_mongo)(stack)
