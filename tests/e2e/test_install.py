"""make install, and what systemd is given."""
import os
import re
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import pytest
import puerta as rig
from cluster import wait_for


def make_install(to, **variables):
    """Where it went; systems are installed to PREFIX=/usr."""
    settings = {"DESTDIR": to, "PREFIX": "/usr", "BUILD": rig.BUILD} | variables
    r = subprocess.run(["make", "-s", "install", *(f"{k}={v}" for k, v in settings.items())], cwd=rig.ROOT, capture_output=True, text=True, timeout=280)
    assert r.returncode == 0, r.stdout + r.stderr
    return to


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return make_install(tmp_path_factory.mktemp("installed"))


FILES = """usr/bin/puerta etc/puerta/puerta.lua usr/share/puerta/conf/redis.lua usr/share/puerta/conf/REFERENCE.md usr/share/puerta/meta/puerta.lua
usr/share/man/man1/puerta.1 usr/share/man/man5/puerta.lua.5 usr/share/bash-completion/completions/puerta usr/share/zsh/vendor-completions/_puerta
usr/lib/systemd/system/puerta.service usr/lib/sysusers.d/puerta.conf usr/lib/tmpfiles.d/puerta.conf usr/lib/puerta/reload""".split()


def test_all_is_there(installed):
    for name in FILES:
        path = installed / name
        assert path.stat().st_size > 0 and not re.search(rb"@(BIN|LIB|SYSCONF)DIR@", path.read_bytes()), name
        assert bool(path.stat().st_mode & stat.S_IXUSR) == (name in ("usr/bin/puerta", "usr/lib/puerta/reload")), name


def test_it_runs_where_it_is(installed):
    """With the example that came with it."""
    r = subprocess.run([installed / "usr/bin/puerta", "-t", installed / "etc/puerta/puerta.lua"], capture_output=True, text=True, timeout=60)
    assert (r.returncode, r.stdout) == (0, "configuration ok\n"), r.stderr


def test_a_configuration_that_is_there_is_kept(tmp_path):
    mine = tmp_path / "etc/puerta/puerta.lua"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    make_install(tmp_path)
    assert mine.read_text() == "mine"


def test_other_places(tmp_path):
    make_install(tmp_path, PREFIX="/opt/puerta", SYSCONFDIR="/opt/etc")
    unit = (tmp_path / "opt/puerta/lib/systemd/system/puerta.service").read_text()
    assert "ExecStart=/opt/puerta/bin/puerta run /opt/etc/puerta/puerta.lua\n" in unit
    assert (tmp_path / "opt/etc/puerta/puerta.lua").exists() and "ExecReload=/opt/puerta/lib/puerta/reload $MAINPID" in unit


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_systemd_is_content(installed, tmp_path):
    """The unit, as installed into a root of its own, where what it runs is to be found."""
    for shell in ("usr/bin/sh", "etc/default/puerta"):
        (installed / shell).parent.mkdir(parents=True, exist_ok=True)
    r = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", "--root", installed, "puerta.service"],
                       capture_output=True, text=True, timeout=60)
    assert r.returncode == 0 and r.stdout + r.stderr == "", r.stdout + r.stderr


@pytest.mark.skipif(not shutil.which("systemd-sysusers") or not shutil.which("systemd-tmpfiles"), reason="no systemd here")
def test_its_user_and_its_directories(installed):
    (installed / "etc").mkdir(exist_ok=True)
    for tool in (["systemd-sysusers"], ["systemd-tmpfiles", "--create"]):
        r = subprocess.run([*tool, f"--root={installed}", "puerta.conf"], capture_output=True, text=True, timeout=60)
        assert r.returncode == 0, r.stderr
    assert re.search(r"^puerta:[^:]*:\d+:\d+:Puerta proxy:", (installed / "etc/passwd").read_text(), re.M)
    assert stat.S_IMODE((installed / "run/puerta").stat().st_mode) == 0o700


def test_what_reload_runs_when_the_binary_is_another(start, cluster, tmp_path):
    """It takes over, with the clients."""
    p = start(cluster)
    shutil.copy(rig.BINARY, tmp_path / "puerta")
    p.file.write_text(p.file.read_text().replace("puerta.config {", 'puerta.config { upgrade = { socket = "%s/upgrade.sock" },' % p.dir))  # as the rig has it
    with p.connect() as c:
        assert c.command("SET", "upgraded", "1") == "OK"
        r = subprocess.run([rig.ROOT / "packaging/systemd/reload", str(p.pid), tmp_path / "puerta", p.file], capture_output=True, text=True, timeout=60)
        assert r.returncode == 0, r.stderr
        assert p.wait_exit() == 0
        heir = int(re.search(r"handing over to process (\d+)", p.log())[1])
        assert c.command("GET", "upgraded") == b"1"
    os.kill(heir, signal.SIGTERM)
    wait_for("its end", 30, lambda: not Path(f"/proc/{heir}").exists() or Path(f"/proc/{heir}/stat").read_text().split(")")[1].split()[0] == "Z")


def test_what_reload_runs(start, cluster):
    """It refuses a file that is not good before the process hears of it."""
    p = start(cluster)
    good, at = p.file.read_text(), p.mark()
    reload = [rig.ROOT / "packaging/systemd/reload", str(p.pid), rig.BINARY, p.file]
    p.file.write_text(good + "nonsense(")
    r = subprocess.run(reload, capture_output=True, text=True, timeout=60)
    assert r.returncode == 1 and re.search(r"puerta\.lua:\d+: ", r.stderr)
    p.file.write_text(good)
    assert subprocess.run(reload, timeout=60).returncode == 0
    p.wait_log(rig.RELOADED, since=at)
    assert len(re.findall("generation", p.log(at))) == 1
