"""The command line of tests/test.sh."""
import argparse
import re
from pathlib import Path

LEVELS = {"basic": "about 15 s", "quick": "about 30 s", "full": "about 3 minutes, with all of routing", "routing": "where things land, a few seconds"}
TEXT = """\
what to check:
  redis basic|quick|full|routing    mongo basic|quick|full|routing    all (both, full)
  basic    about 15 s: every kind of command and reply, a short loop of clients that check every answer
  quick    about 30 s: more of the same, many connections
  full     about 3 minutes: long loops, large values, thousands of connections, and routing
  routing  where keys, clients and sessions land

which Puerta:
  Without --target: those that `make demo` and `make demo-mongodb` have started here; where none runs, one of its own before servers of its own,
  which are built, started and stopped. With --target HOST:PORT any that you run. It writes below its own --prefix only (keys PREFIX:..., databases
  PREFIX-...), names of each run differ, and what it has written is removed at the end.

examples:
  tests/test.sh redis basic
  tests/test.sh redis routing --target cache.example.com:6379 --password-file secret --nodes redis1.example.com:6379
  tests/test.sh mongo full --target db.example.com:27017 --user app --password-file secret --tls --ca ca.pem --json report.json

exit code: 0 all is well (what was skipped says why), 1 a check failed, 2 nothing could be checked
"""


def address(text):
    host, colon, port = text.strip().rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 65536 or not host:
        raise argparse.ArgumentTypeError(f"'{text}' is no HOST:PORT")
    return host.strip("[]"), int(port)


def addresses(text):
    return [address(a) for a in text.split(",")]


def prefix(text):
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,24}", text):
        raise argparse.ArgumentTypeError("1 to 24 letters, digits, _ and -")
    return text


def secret(path):
    try:
        return Path(path).read_text().rstrip("\r\n")
    except OSError as e:
        raise argparse.ArgumentTypeError(f"{path}: {e.strerror}") from None


def parse(argv):
    p = argparse.ArgumentParser(prog="tests/test.sh", formatter_class=argparse.RawDescriptionHelpFormatter, epilog=TEXT,
                                description="Checks a running Puerta from a client's side.")
    p.add_argument("what", choices=["redis", "mongo", "all"])
    p.add_argument("level", choices=LEVELS, nargs="?", help="all: full when left out")
    p.add_argument("--target", type=address, metavar="HOST:PORT", help="the Puerta to check")
    p.add_argument("--own", action="store_true", help="a Puerta of its own, even where a demo runs")
    p.add_argument("--user", help="user of the target (MongoDB; Redis: of its ACL)")
    p.add_argument("--password-file", type=secret, dest="password", metavar="FILE", help="its first line is the password")
    p.add_argument("--tls", action="store_true", help="talk TLS to the target")
    p.add_argument("--ca", metavar="FILE", help="certificates that the target's must be signed by (the system's)")
    p.add_argument("--nodes", type=addresses, default=[], metavar="HOST:PORT,...",
                   help="nodes of the cluster, or mongos, behind the target, reachable from here: routing then looks there, too")
    p.add_argument("--nodes-password-file", type=secret, dest="nodes_password", metavar="FILE", help="the password of the nodes (that of the target)")
    p.add_argument("--forward", choices=["connection", "request"], default="connection", help="of a MongoDB target: what its listener says")
    p.add_argument("--prefix", type=prefix, default="puerta-check", metavar="NAME", help="what its keys and databases begin with (puerta-check)")
    p.add_argument("--seconds", type=int, metavar="N", help="how long the loop of clients takes (by level)")
    p.add_argument("--json", type=Path, metavar="FILE", help="writes a report, too")
    a = p.parse_args(argv)
    if a.what != "all" and not a.level:
        p.error(f"{a.what} needs one of: {', '.join(LEVELS)}")
    if a.what == "all" and a.target:
        p.error("all checks two Puertas; give redis or mongo with --target")
    if a.own and a.target:
        p.error("either --own or --target")
    if a.seconds is not None and not 1 <= a.seconds <= 86400:
        p.error("--seconds goes from 1 to 86400")
    a.level = a.level or "full"
    a.kinds = ["redis", "mongo"] if a.what == "all" else [a.what]
    if not a.target and (a.user or a.password or a.tls or a.ca or a.nodes):
        p.error("--user, --password-file, --tls, --ca and --nodes belong to a --target")
    if a.ca and not a.tls:
        p.error("--ca needs --tls")
    return a
