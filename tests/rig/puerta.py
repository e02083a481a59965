"""A puerta process under test: configuration text in, log lines and /proc figures out. Standard library only."""
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from cluster import free_port, wait_for
from resp import Conn

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("PUERTA_BIN") or str(ROOT / "build" / "puerta-asan")
SANITIZER = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|DEADLYSIGNAL|LeakSanitizer")
READY = re.compile(r'info +ready: |"level":"info","event":"ready"')
RELOADED = r"generation \d+ serves(?! on)"
WORKERS = int(os.environ.get("PUERTA_WORKERS", "1"))
TICKS = os.sysconf("SC_CLK_TCK")
BUILD = (ROOT / os.environ.get("BUILD_DIR", "build")).resolve()  # where tools/deps.sh puts the clients
NODE_MODULES = BUILD / "node" / "node_modules"
NODE = shutil.which("node", path=f"{NODE_MODULES}/.bin") or shutil.which("node")  # the one that npm brought where the system's is too old


class Lua(str):
    """Lua source, put into a configuration as it is."""


def lua(v):
    """A Python value as a Lua expression."""
    if isinstance(v, Lua):
        return str(v)
    if v is None:
        return "nil"
    if isinstance(v, bool):
        return "true" if v else "false"
    if isinstance(v, (int, float)):
        return str(v)
    if isinstance(v, str):
        return '"%s"' % v.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    if isinstance(v, dict):
        return "{ " + ", ".join(f"{k if k.isidentifier() else '[%s]' % lua(k)} = {lua(x)}" for k, x in v.items()) + " }"
    return "{ " + ", ".join(map(lua, v)) + " }"


def listener(nodes, bind, **options):
    """One puerta.redis constructor. nodes: a Cluster or a list of addresses; bind: a port or an address."""
    options = {"bind": f"127.0.0.1:{bind}" if isinstance(bind, int) else bind, "nodes": getattr(nodes, "addresses", nodes)} | options
    body = "".join(f"      {k} = {lua(v)},\n" for k, v in options.items())
    return Lua("puerta.redis {\n" + body + "    }")


def mongo_listener(backends, bind, **options):
    """One puerta.mongodb constructor. backends: objects with an address, addresses, or pairs of one and its options; bind: a port or an address."""
    def backend(b):
        at, more = b if isinstance(b, tuple) else (b, {})
        return Lua("puerta.backend { %s }" % ", ".join([lua(getattr(at, "address", at)), *(f"{k} = {lua(v)}" for k, v in more.items())]))

    options = {"bind": f"127.0.0.1:{bind}" if isinstance(bind, int) else bind, "backends": [backend(b) for b in backends]} | options
    body = "".join(f"      {k} = {lua(v)},\n" for k, v in options.items())
    return Lua("puerta.mongodb {\n" + body + "    }")


def config(*listeners, **top):
    """A whole configuration file."""
    head = "".join(f"  {k} = {lua(v)},\n" for k, v in top.items())
    return ('local puerta = require "puerta"\nlocal env = puerta.env\nreturn puerta.config {\n' + head
            + "  listeners = {\n" + "".join(f"    {x},\n" for x in listeners) + "  },\n}\n")


class Puerta:
    """Started from a configuration text; listens on self.port when the text was made by for_cluster or for_backends."""

    def __init__(self, text, args=(), env=None, ready=True, binary=None, files=None, port=None):
        self.port = port
        self.dir = Path(tempfile.mkdtemp(prefix="puerta-"))
        for name, content in (files or {}).items():
            (self.dir / name).write_text(content)
        self.file = self.dir / "puerta.lua"
        self.file.write_text(text)
        self.log_path = self.dir / "puerta.log"
        self.expect_exit = 0
        environment = os.environ | {"TSAN_OPTIONS": "halt_on_error=0 exitcode=66 second_deadlock_stack=1"} | (env or {})
        environment.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:exitcode=65:quarantine_size_mb=8")
        environment.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
        own = [] if "--upgrade-sock" in args else ["--upgrade-sock", str(self.dir / "upgrade.sock")]
        self.args, self.environment = [*args, *own], environment
        self.log_path.write_bytes(b"")
        self.process = self.spawn(binary or BINARY)
        if ready:
            self.wait_ready()

    @classmethod
    def for_cluster(cls, nodes, top=None, args=(), env=None, files=None, ready=True, binary=None, **options):
        """One Redis listener on a free port before a cluster (or a list of seeds)."""
        port = free_port()
        top = {"workers": WORKERS} | (top or {})
        return cls(config(listener(nodes, port, **options), **top), args=args, env=env, ready=ready, files=files, port=port, binary=binary)

    @classmethod
    def for_backends(cls, backends, top=None, args=(), env=None, files=None, ready=True, **options):
        """One MongoDB listener on a free port before some backends; backends and options as in mongo_listener."""
        port = free_port()
        top = {"workers": WORKERS} | (top or {})
        return cls(config(mongo_listener(backends, port, **options), **top), args=args, env=env, ready=ready, files=files, port=port)

    def wait_ready(self, seconds=20):
        def look():
            if self.process.poll() is not None:
                raise RuntimeError(f"puerta ended with {self.process.returncode} before it was ready:\n{self.log()}")
            return READY.search(self.log())

        try:
            wait_for("puerta is ready", seconds, look)
        except TimeoutError as e:
            self.process.kill()
            raise TimeoutError(f"{e}; its log:\n{self.log()}") from None

    def spawn(self, binary, *more):
        """One more process of the same configuration; its log goes where the first one's goes."""
        with self.log_path.open("ab") as log:
            return subprocess.Popen(["setpriv", "--pdeathsig", "KILL", binary, "run", str(self.file), *self.args, *more], stdin=subprocess.DEVNULL,
                                    stdout=log, stderr=log, cwd=self.dir, env=self.environment, process_group=0)

    def successor(self, binary=None, seconds=30):
        """A process that is ready to take over."""
        since = self.mark()
        process = self.spawn(binary or BINARY, "--upgrade")
        self.wait_log(f"process {process.pid} is ready to take over: send QUIT", since=since, seconds=seconds)
        return process

    def upgrade(self, binary=None, seconds=40):
        """Replaces the running process; returns when the old one has ended."""
        old, new = self.process, self.successor(binary)
        self.process = new
        old.send_signal(signal.SIGQUIT)
        assert old.wait(seconds) == 0, self.tail()
        return new

    @property
    def pid(self):
        return self.process.pid

    def log(self, since=0):
        return self.log_path.read_bytes()[since:].decode(errors="replace")

    def mark(self):
        """A place in the log, for log(since) and wait_log(since=)."""
        return self.log_path.stat().st_size

    def wait_log(self, pattern, since=0, seconds=20):
        try:
            return wait_for(f"{pattern!r} in the log", seconds, lambda: re.search(pattern, self.log(since)))
        except TimeoutError as e:
            raise TimeoutError(f"{e}; the log since then:\n{self.log(since)}") from None

    def connect(self, timeout=30, tls=None, server_name=None):
        return Conn(self.port, timeout=timeout, tls=tls, server_name=server_name)

    def kill(self, sig):
        os.kill(self.pid, sig)

    def reload(self, text=None):
        """SIGHUP, after the file has been replaced by text. The place in the log before it."""
        at = self.mark()
        if text is not None:
            self.file.write_text(text)
        self.kill(signal.SIGHUP)
        return at

    def alive(self):
        return self.process.poll() is None

    def cpu_seconds(self):
        f = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(f[11]) + int(f[12])) / TICKS

    def rss(self):
        """Bytes resident now."""
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())[1]) * 1024

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def wait_exit(self, seconds=30):
        return self.process.wait(seconds)

    def stop(self, sig=signal.SIGINT, seconds=30):
        """Ends it and says what was wrong with its life; None, and its files are gone: nothing."""
        if self.alive():
            self.kill(sig)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return f"puerta did not end within {seconds} s of signal {sig}; its log:\n{self.tail()}"
        if SANITIZER.search(self.log()):
            return f"a sanitizer has spoken (exit {code}):\n{self.log()[-20000:]}"
        if code != self.expect_exit:
            return f"puerta ended with {code}, expected {self.expect_exit}; its log:\n{self.tail()}"
        shutil.rmtree(self.dir)
        return None

    def tail(self, lines=60):
        return "\n".join(self.log().splitlines()[-lines:])


def raise_file_limit():
    """As many open files as the hard limit allows; that number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def run(*args, timeout=60, env=None, cwd=None):
    """puerta with these arguments, to its end."""
    return subprocess.run([BINARY, *map(str, args)], capture_output=True, text=True, timeout=timeout, cwd=cwd, env=os.environ | (env or {}))


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * p / 100))]
