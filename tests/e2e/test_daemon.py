"""In the background, as another user, under a supervisor: -d, -p, -e, user and group, NOTIFY_SOCKET, the limit of open files."""
import os
import pwd
import re
import resource
import shutil
import signal
import socket
import stat
import tempfile
from pathlib import Path

import pytest
import puerta as rig
from cluster import free_port, wait_for
from conftest import Starter
from resp import Conn

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def ended(pid):
    """It is gone, or a zombie whose parent does not care."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except FileNotFoundError:
        return True


class Daemon:
    """Files for a puerta in the background, and what became of it."""

    def __init__(self, path, cluster):
        self.dir, self.port = path, free_port()
        self.pid_file, self.log_file, self.file = path / "puerta.pid", path / "puerta.log", path / "c.lua"
        self.nodes = cluster

    def write(self, **top):
        self.file.write_text(rig.config(rig.listener(self.nodes, self.port), **({"workers": 1} | top)))
        return self

    def run(self, *args, timeout=60):
        return rig.run(*args, self.file, timeout=timeout)

    def launch(self, *more):
        return self.run("-d", "-p", self.pid_file, "-e", self.log_file, *more)

    @property
    def pid(self):
        return int(self.pid_file.read_text())

    def log(self):
        return self.log_file.read_text() if self.log_file.exists() else ""

    def answers(self):
        with Conn(self.port, timeout=20) as c:
            return c.command("SET", "daemon", "1") == "OK" and c.command("GET", "daemon") == b"1"

    def end(self, sig=signal.SIGTERM):
        pid = self.pid
        os.kill(pid, sig)
        wait_for("the daemon's end", 30, lambda: ended(pid))

    def clean_up(self):
        if self.pid_file.exists() and not ended(self.pid):
            self.end(signal.SIGINT)
        assert not rig.SANITIZER.search(self.log()), self.log()


@pytest.fixture
def daemon(cluster):
    """In a directory of its own: those of pytest are closed to other users, again whenever another pytest starts."""
    with tempfile.TemporaryDirectory(prefix="puerta-") as path:
        d = Daemon(Path(path), cluster)
        yield d
        d.clean_up()


def test_serves_when_the_foreground_ends(daemon):
    r = daemon.write().launch()
    assert (r.returncode, r.stdout, r.stderr) == (0, "", "")
    assert daemon.answers()
    pid = daemon.pid
    assert os.getsid(pid) == pid
    assert stat.S_IMODE(daemon.pid_file.stat().st_mode) & 0o022 == 0
    assert [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)] == ["/dev/null", "/dev/null", str(daemon.log_file)]
    assert "ready: serving" in daemon.log()
    daemon.end()
    assert not daemon.pid_file.exists() and "requests of" in daemon.log()


def test_the_same_from_the_configuration(daemon):
    r = daemon.write(daemon=True, pid_file=str(daemon.pid_file)).run()
    assert r.returncode == 0 and daemon.answers()
    assert "the log goes on in syslog" in r.stderr
    assert os.readlink(f"/proc/{daemon.pid}/fd/2") == "/dev/null"


def test_reload_keeps_what_needs_a_restart(daemon):
    daemon.write().launch()
    daemon.write(pid_file="/nowhere/at/all.pid")
    os.kill(daemon.pid, signal.SIGHUP)
    wait_for("refusal", 20, lambda: "pid_file can only change with a restart" in daemon.log())
    daemon.write(drain_timeout="7s")
    os.kill(daemon.pid, signal.SIGHUP)
    wait_for("reload", 20, lambda: re.search(rig.RELOADED, daemon.log()))
    assert daemon.answers()


def test_a_taken_port_fails_in_the_foreground(daemon):
    with socket.create_server(("127.0.0.1", daemon.port)):
        r = daemon.write().launch()
        plain = daemon.run("-d", "-p", daemon.pid_file)
    why = r"c\.lua:\d+: .*cannot bind 127\.0\.0\.1:\d+: Address already in use"
    assert r.returncode == 1 and str(daemon.log_file) in r.stderr and re.search(why, daemon.log())
    assert plain.returncode == 1 and re.search(why, plain.stderr)
    assert not daemon.pid_file.exists()


def test_a_bad_configuration_is_said_here_and_in_the_log(daemon):
    daemon.write(wokers=1)
    r = daemon.launch()
    assert r.returncode == 1
    for text in (r.stderr, daemon.log()):
        assert re.search(r'c\.lua:5: unknown option "wokers"', text), text
    assert not daemon.pid_file.exists()


def test_a_log_that_cannot_be_opened(daemon):
    r = daemon.write().run("-e", "/nowhere/at/all.log")
    assert r.returncode == 1 and "/nowhere/at/all.log: No such file or directory" in r.stderr


def test_a_second_one_is_refused(daemon):
    daemon.write().launch()
    r = daemon.run("-p", daemon.pid_file)
    assert r.returncode == 1 and re.search(rf"pid file {daemon.pid_file}: it names process {daemon.pid} \(puerta[^)]*\), which lives", r.stderr)
    assert daemon.answers()


def test_a_pid_file_left_by_a_crash_is_no_hindrance(daemon):
    daemon.write().launch()
    first = daemon.pid
    daemon.end(signal.SIGKILL)
    assert daemon.pid == first
    assert daemon.launch().returncode == 0 and daemon.pid != first and daemon.answers()


def test_a_file_that_is_no_pid_file_is_not_touched(daemon):
    daemon.pid_file.write_text("precious\n")
    r = daemon.write().run("-p", daemon.pid_file)
    assert r.returncode == 1 and "something else" in r.stderr
    assert daemon.pid_file.read_text() == "precious\n"
    daemon.pid_file.unlink()


@pytest.mark.parametrize("top", [{}, pytest.param({"user": "nobody"}, marks=root)], ids=["root", "another user"])
def test_another_daemon_takes_over(daemon, top):
    """Its foreground ends when it could; the pid file names the one that serves, where that one may write."""
    daemon.dir.chmod(0o755)
    (daemon.dir / "own").mkdir()
    daemon.pid_file, socket_path = daemon.dir / "own" / "puerta.pid", daemon.dir / "own" / "upgrade.sock"
    if top:
        shutil.chown(daemon.dir / "own", top["user"])
    daemon.write(upgrade={"socket": str(socket_path)}, **top).launch()
    first = daemon.pid
    with Conn(daemon.port, timeout=20) as c:
        assert c.command("SET", "heir", "1") == "OK"
        r = daemon.launch("--upgrade")
        assert r.returncode == 0, r.stderr + daemon.log()
        assert daemon.pid == first and not ended(first)
        os.kill(first, signal.SIGQUIT)
        wait_for("the end of the first", 30, lambda: ended(first))
        assert c.command("GET", "heir") == b"1"
    assert daemon.pid != first and not ended(daemon.pid) and daemon.answers()
    daemon.end()
    assert not daemon.pid_file.exists()


def test_nobody_to_take_over_from(daemon):
    r = daemon.write(upgrade={"socket": str(daemon.dir / "upgrade.sock")}).launch("--upgrade")
    assert r.returncode == 1 and "no puerta waits there" in daemon.log() and not daemon.pid_file.exists()


# ---- another user ----


def ids(pid):
    """(real, effective, saved, fs) user and group ids, groups and capabilities, of every thread."""
    found = set()
    for task in os.listdir(f"/proc/{pid}/task"):
        s = Path(f"/proc/{pid}/task/{task}/status").read_text()
        field = lambda name: tuple(re.search(rf"^{name}:\s*(.*)$", s, re.M)[1].split())
        found.add((field("Uid"), field("Gid"), field("CapPrm"), field("CapEff"), field("CapAmb"), field("NoNewPrivs")))
    return found


def as_nobody(daemon, **more):
    """Its files where everybody can read them."""
    daemon.dir.chmod(0o755)
    return daemon.write(user="nobody", **more)


@root
def test_becomes_the_user_it_is_told(daemon):
    assert as_nobody(daemon).launch().returncode == 0
    nobody = pwd.getpwnam("nobody")
    none, uid, gid = ("0" * 16,), (str(nobody.pw_uid),) * 4, (str(nobody.pw_gid),) * 4
    assert ids(daemon.pid) == {(uid, gid, none, none, none, ("1",))}
    assert f'running as user "nobody" (uid {nobody.pw_uid}' in daemon.log() and "would fail" not in daemon.log()
    assert daemon.answers()
    os.kill(daemon.pid, signal.SIGHUP)
    wait_for("reload", 20, lambda: re.search(rig.RELOADED, daemon.log()))
    pid = daemon.pid
    daemon.end()
    # The directory is root's: nobody cannot remove the file, which names a process that is gone, and it is said.
    assert f"pid file {daemon.pid_file} stays: Permission denied" in daemon.log() and ended(pid)
    assert daemon.launch().returncode == 0 and daemon.answers()


@root
def test_group(daemon):
    assert as_nobody(daemon, group="daemon").launch().returncode == 0
    assert {g for _, g, *_ in ids(daemon.pid)} == {("1",) * 4}
    r = rig.run("-t", daemon.write(group="daemon").file)
    assert r.returncode == 1 and "group: expected user with group" in r.stderr


@root
def test_files_it_cannot_read_any_more_are_named(daemon):
    as_nobody(daemon)
    daemon.file.chmod(0o600)
    assert daemon.launch().returncode == 0
    assert re.search(r"c\.lua: Permission denied", daemon.log()) and 'a reload would fail: user "nobody"' in daemon.log()
    os.kill(daemon.pid, signal.SIGHUP)
    wait_for("refusal", 20, lambda: "configuration not applied; generation 1 serves on" in daemon.log())
    assert daemon.answers()


@pytest.mark.parametrize("top,why", [({"user": "no-such-user"}, 'user "no-such-user": there is no such user'),
                                     ({"user": "root" if os.geteuid() == 0 else "daemon"}, "root")])
def test_a_user_it_cannot_become(daemon, top, why):
    r = daemon.write(**top).run("-p", daemon.pid_file)
    assert r.returncode == 1 and why in r.stderr and not daemon.pid_file.exists()


# ---- a supervisor ----


class Supervisor:
    """What systemd would hear."""

    def __init__(self, path):
        self.path = str(path / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(30)

    def hear(self):
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())

    def silent(self):
        self.socket.setblocking(False)
        try:
            return self.socket.recv(4096) is None
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(30)


@pytest.fixture
def supervisor(tmp_path):
    s = Supervisor(tmp_path)
    yield s
    s.socket.close()


def test_a_supervisor_hears_the_whole_life(start, cluster, supervisor):
    p = start(cluster, env={"NOTIFY_SOCKET": supervisor.path}, top={"drain_timeout": "9s"})
    assert supervisor.hear()["READY"] == "1"
    for text, serves in ((None, "generation 2"), (p.file.read_text().replace("bind", "bnid"), "generation 2")):
        p.reload(text)
        said = supervisor.hear()
        assert said["RELOADING"] == "1" and 0 < int(said["MONOTONIC_USEC"])
        said = supervisor.hear()
        assert said["READY"] == "1" and serves in said["STATUS"]
    p.kill(signal.SIGTERM)
    said = supervisor.hear()
    assert said["STOPPING"] == "1" and int(said["EXTEND_TIMEOUT_USEC"]) > 9_000_000
    assert p.wait_exit() == 0
    assert supervisor.silent()


def test_ready_even_when_no_node_answers(start, supervisor):
    """A cluster that is down when the machine boots must not make the supervisor give up."""
    start([f"127.0.0.1:{free_port()}"], env={"NOTIFY_SOCKET": supervisor.path}, ready=False)
    assert supervisor.hear()["READY"] == "1"


def test_a_supervisor_that_is_gone_does_no_harm(start, cluster, tmp_path):
    p = start(cluster, env={"NOTIFY_SOCKET": str(tmp_path / "nothing")})
    with p.connect() as c:
        assert c.command("PING") == "PONG"


# ---- open files ----


def test_the_limit_of_open_files_is_raised_and_said(cluster, tmp_path):
    wrapper = tmp_path / "limited"
    wrapper.write_text(f'#!/bin/sh\nexec prlimit --nofile=300:1000 "{rig.BINARY}" "$@"\n')
    wrapper.chmod(0o755)
    port, s = free_port(), Starter()
    text = rig.config(rig.listener(cluster, port), workers=1)
    p = s.text(text, port=port, binary=str(wrapper))
    try:
        assert resource.prlimit(p.pid, resource.RLIMIT_NOFILE) == (1000, 1000)
        assert "1000 open files allowed: room for about 936 clients" in p.log()
    finally:
        s.end()
