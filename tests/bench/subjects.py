"""What is measured: Puerta before a Redis Cluster; HAProxy and twemproxy before one plain Redis. All on loopback, one thread each."""
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "rig"))
import puerta as rig  # noqa: E402
from cluster import Cluster, Node, free_port, wait_for  # noqa: E402
from resp import Conn, Error, encode  # noqa: E402
from slots import slot  # noqa: E402

TICK = os.sysconf("SC_CLK_TCK")
FILES = rig.raise_file_limit()
# A TCP relay needs two descriptors a client.
MAX_CLIENTS = min(10_000, (FILES - 200) // 2)

KEYS, BIG_KEYS = 100_000, 1_000
SMALL, BIG = 64, 16 * 1024

HAPROXY = """\
global
    nbthread 1
    maxconn {maxconn}
defaults
    mode tcp
    timeout connect 5s
    timeout client 10m
    timeout server 10m
listen redis
    bind 127.0.0.1:{port} backlog 4096
    server one 127.0.0.1:{backend}
"""

TWEMPROXY = """\
redis:
  listen: 127.0.0.1:{port}
  redis: true
  hash: fnv1a_64
  distribution: ketama
  preconnect: true
  backlog: 4096
  servers:
   - 127.0.0.1:{backend}:1
"""


class Cpu:
    """CPU time of processes: total in ns as the scheduler counts it, and its user and system parts as well as the kernel knows them."""

    def __init__(self, pids):
        self.ns = self.user = self.system = 0
        for pid in pids:
            for task in Path(f"/proc/{pid}/task").iterdir():
                self.ns += int((task / "schedstat").read_text().split()[0])
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            self.user += int(fields[11]) / TICK
            self.system += int(fields[12]) / TICK


class Served:
    """What the servers say they have done: an independent count of the requests that arrived."""

    def __init__(self, nodes):
        self.hits = self.misses = self.sets = self.errors = 0
        for n in nodes:
            stats = n.info("stats")
            self.hits += int(stats["keyspace_hits"])
            self.misses += int(stats["keyspace_misses"])
            self.errors += int(stats["total_error_replies"])
            line = n.info("commandstats").get("cmdstat_set", "calls=0,")
            self.sets += int(line.split("=", 1)[1].split(",", 1)[0])


class Subject:
    """A proxy process in front of some redis-servers."""

    def __init__(self, name, nodes, argv=None, files=None, port=None):
        self.name, self.nodes = name, nodes
        self.port = port or free_port()
        self.dir = Path(tempfile.mkdtemp(prefix=f"bench-{name}-"))
        for file, text in (files or {}).items():
            (self.dir / file).write_text(text)
        if argv:
            self.log = (self.dir / "log").open("wb")
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *argv], cwd=self.dir, stdin=subprocess.DEVNULL,
                                            stdout=self.log, stderr=self.log, start_new_session=True)

    @property
    def pid(self):
        return self.process.pid

    def ready(self):
        wait_for(f"{self.name} answers", 20, self.answers)
        return self

    def answers(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{(self.dir / 'log').read_text(errors='replace')[-2000:]}")
        try:
            with Conn(self.port, timeout=5) as c:
                return c.command("GET", "key:%012d" % 1) == b"x" * SMALL
        except OSError:
            return False

    def cpu(self):
        return Cpu([self.pid])

    def redis_cpu(self):
        return Cpu([n.pid for n in self.nodes])

    def served(self):
        return Served(self.nodes)

    def pin(self, cpus):
        pin(self.pid, cpus)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


class PuertaSubject(Subject):
    """policy: "slot_owner" is the one in Lua, "c" the same in C."""

    def __init__(self, name, cluster, binary, policy, **top):
        super().__init__(name, cluster.nodes)
        text = rig.config(rig.listener(cluster, self.port, policy=policy), workers=1, **top)
        self.rig = rig.Puerta(text, binary=binary, port=self.port)
        self.process = self.rig.process
        self.rig_dir = self.rig.dir
        os.symlink(self.rig.log_path, self.dir / "log")

    def stop(self):
        super().stop()
        shutil.rmtree(self.rig_dir, ignore_errors=True)


def pin(pid, cpus):
    """All threads of a process to these processors."""
    for task in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(task), cpus)


class Bed:
    """The servers with their keys, and a maker for each subject. Everything ends with it."""

    def __init__(self, binary):
        if FILES < 4000:
            raise SystemExit(f"the limit of open files is {FILES}; 1,000 clients through a relay need 4,000 (ulimit -n)")
        self.binary = binary if os.access(binary, os.X_OK) else None
        options = {"maxclients": 12_000, "tcp-backlog": 4096}
        self.tmp = tempfile.mkdtemp(prefix="bench-redis-")
        # A starved node must not be taken for a dead one.
        self.cluster = Cluster(masters=3, replicas=0, node_timeout=30_000, options=options)
        self.plain = None
        self.running = []
        try:
            self.plain = Node(self.tmp, options, cluster=False)
            self.load_keys()
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    @property
    def pids(self):
        return [n.pid for n in [*self.cluster.nodes, self.plain]]

    def load_keys(self):
        keys = [("key:%012d" % i, SMALL) for i in range(KEYS)] + [("big:%012d" % i, BIG) for i in range(BIG_KEYS)]
        fill(self.plain, keys)
        for master in self.cluster.masters():
            own = self.cluster.slots_of(master)
            fill(master, [k for k in keys if slot(k[0]) in own])

    def names(self):
        return (["puerta-lua", "puerta-c"] if self.binary else []) + ["haproxy", "twemproxy"]

    def start(self, name, **top):
        """A subject, serving. Options of puerta's configuration may be added."""
        port, backend = free_port(), self.plain.port
        if name == "haproxy":
            s = Subject(name, [self.plain], ["haproxy", "-db", "-f", "haproxy.cfg"], port=port,
                        files={"haproxy.cfg": HAPROXY.format(port=port, backend=backend, maxconn=MAX_CLIENTS)})
        elif name == "twemproxy":
            s = Subject(name, [self.plain], ["nutcracker", "-c", "nutcracker.yml", "-a", "127.0.0.1", "-s", str(free_port())], port=port,
                        files={"nutcracker.yml": TWEMPROXY.format(port=port, backend=backend)})
        else:
            s = PuertaSubject(name, self.cluster, self.binary, "c" if name == "puerta-c" else "slot_owner", **top)
        self.running.append(s)
        return s.ready()

    def end(self, subject):
        self.running.remove(subject)
        subject.stop()

    def stop(self):
        for s in self.running:
            s.stop()
        if self.plain:
            self.plain.stop()
        self.cluster.stop()
        shutil.rmtree(self.tmp, ignore_errors=True)


def fill(node, keys):
    with node.connect() as c:
        for at in range(0, len(keys), 500):
            part = keys[at : at + 500]
            c.send(b"".join(encode("SET", k, b"x" * size) for k, size in part))
            for k, _ in part:
                reply = c.read()
                if isinstance(reply, Error):
                    raise RuntimeError(f"SET {k} on {node.address}: {reply}")


def settle():
    """What a run leaves behind (closing connections) belongs to that run."""
    time.sleep(0.05)
