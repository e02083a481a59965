"""What people and shells know of the command line: --help, the manual pages and the completions, which are made of one table."""
import re
import shutil
import subprocess

import pytest
import puerta as rig

PACKAGING = rig.ROOT / "packaging"


def options():
    """Of --help: {name: letter or None}."""
    found = re.findall(r"^  (?:-(\w),|   ) --([a-z-]+)", rig.run("--help").stdout, re.M)
    return {name: letter or None for letter, name in found}


def render(page):
    r = subprocess.run(["groff", "-man", "-ww", "-Kutf8", "-Tutf8", "-P-cbou", PACKAGING / "man" / page], capture_output=True, text=True, timeout=60)
    assert r.returncode == 0 and r.stderr == "", r.stderr
    return r.stdout


def test_help_is_what_it_was_thought_to_be():
    assert {"config": "c", "daemon": "d", "pid-file": "p", "error-log": "e", "dump": None, "test": "t"}.items() <= options().items()


def test_the_page_of_the_command():
    text = render("puerta.1")
    assert re.search(r"^NAME\n +puerta +- ", text, re.M)
    for name, letter in options().items():
        assert re.search(rf"^ +(-{letter}( [A-Z]+)?, )?--{name}\b", text, re.M), name
    for section in ("SYNOPSIS", "OPTIONS", "SIGNALS", "ENVIRONMENT", "FILES", "EXIT STATUS", "SEE ALSO"):
        assert re.search(rf"^{section}$", text, re.M)


def test_the_page_has_what_ctl_does():
    text, said = render("puerta.1"), rig.run("ctl", "--help").stdout
    names = re.findall(r"^  ([a-z-]+)(?: \S+)? {2,}", said, re.M)
    assert {"status", "top", "reload", "--json"} <= set(names)
    for name in names:
        assert re.search(rf"^ +{name}\b", text, re.M), name


def test_the_page_of_the_configuration():
    """All options that the reference has, and nothing of its Markdown."""
    text, reference = render("puerta.lua.5"), (rig.ROOT / "conf" / "REFERENCE.md").read_text()
    names = re.findall(r"^\| `(\w+)` \|.*\| (?:hot|restart) \|", reference, re.M)
    assert len(names) > 50
    for name in names:
        assert re.search(rf"^ +{name}\b", text, re.M), name
    assert not re.search(r"`|\*\*|^\s*\|", text, re.M)


def bash(*words):
    """What bash offers for the last word."""
    script = f"""source {PACKAGING}/completion/puerta
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _puerta; printf '%s\\n' "${{COMPREPLY[@]}}" """
    r = subprocess.run(["bash", "-uc", script, "bash", *words], capture_output=True, text=True, timeout=60, cwd=rig.ROOT)
    assert r.returncode == 0 and r.stderr == "", r.stderr
    return r.stdout.split()


def test_bash():
    every = {f"--{name}" for name in options()} | {f"-{letter}" for letter in options().values() if letter}
    assert set(bash("puerta", "-")) == every
    assert bash("puerta", "--pid") == ["--pid-file"]
    assert bash("puerta", "--log-level", "") == ["debug", "info", "warn", "error"]
    assert bash("puerta", "--log-level", "=", "d") == bash("puerta", "--log-level", "d") == ["debug"]
    assert bash("puerta", "--log-level", "=") == ["debug", "info", "warn", "error"]
    assert bash("puerta", "-c", "conf/redis-a") == bash("puerta", "run", "conf/redis-a") == ["conf/redis-auth.lua"]
    assert {"status", "top", "reload", "--json"} <= set(bash("puerta", "ctl", "")) and bash("puerta", "ctl", "rel") == ["reload"]
    assert bash("puerta", "ru") == ["run"] and bash("puerta", "-w", "") == []


@pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh here")
def test_zsh():
    """Its own completion system, in a pseudo terminal, lists the options."""
    script = f"""zmodload zsh/zpty; export TERM=dumb; zpty z zsh -f
zpty -w z 'PS1= ; fpath=({PACKAGING}/completion $fpath); autoload -U compinit; compinit -u -D; print READY'
zpty -r z out '*READY*READY*'; zpty -w -n z $'puerta --\\t'; zpty -r -m z out '*--{max(options())}*'; print -r -- "$out"; zpty -d z"""
    r = subprocess.run(["zsh", "-fc", script], capture_output=True, text=True, timeout=60)
    for name in options():
        assert f"--{name}" in r.stdout, r.stdout + r.stderr
