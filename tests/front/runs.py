"""Runs the checks of a level against each target, and cleans up after them."""
import time

import mongo_commands  # noqa: F401  the checks register themselves, in this order
import mongo_load  # noqa: F401
import mongo_routing  # noqa: F401
import places
import redis_commands  # noqa: F401
import redis_load  # noqa: F401
import redis_routing  # noqa: F401
from checks import Failed, Skip, chosen
from mongo_run import MongoRun
from redis_run import RedisRun

RUNS = {"redis": RedisRun, "mongo": MongoRun}
# kind of trouble -> what may help. The first that fits.
HINTS = [
    (ConnectionRefusedError, "nothing listens there: does puerta run, and are host and port right?"),
    (TimeoutError, "no answer in time: is it puerta that listens there, does it reach its nodes? Its log tells; with TLS, --tls is needed"),
    (ConnectionError, "the connection was closed: puerta's log says why; a TLS listener needs --tls"),
]


def run_all(args, report):
    for kind in args.kinds:
        try:
            with places.targets(kind, args, report) as found:
                for target in found:
                    run(kind, target, len(found), args, report)
        except (OSError, RuntimeError) as e:  # TimeoutError is an OSError
            report.trouble(f"no Puerta for {kind}: {e}")


def run(kind, target, of, args, report):
    report.begin(kind, args.level, target)
    r = RUNS[kind](target, args.level, args.prefix)
    r.size["seconds"] = max(1, (args.seconds or r.size["seconds"]) // of)  # for all targets together
    checks = chosen(kind, args.level)
    try:
        for i, c in enumerate(checks):
            if not one(c, r, report) and c.first:
                report.not_run(len(checks) - i - 1)
                return
    finally:
        clean(r, report)


def one(c, r, report):
    """Runs a check and reports it; has it not failed?"""
    report.checking(c.title)
    began = time.monotonic()
    outcome, hint = "ok", None
    try:
        detail = c.function(r) or ""
    except Skip as e:
        outcome, detail, hint = "skipped", str(e), e.hint
    except Failed as e:
        outcome, detail, hint = "failed", str(e), e.hint
    except KeyboardInterrupt:
        report.say("interrupted")
        raise
    except Exception as e:  # whatever a client raises is what the check found
        outcome, detail, hint = "failed", f"{type(e).__name__}: {e}"[:600], r.hint(e) or next((h for kind, h in HINTS if caused(e, kind)), None)
    report.checked(c.name, c.title, outcome, round((time.monotonic() - began) * 1000), detail, hint)
    return outcome != "failed"


def caused(e, kind):
    """Is it, or its cause, of that kind?"""
    while e:
        if isinstance(e, kind):
            return True
        e = e.__cause__ or e.__context__
    return False


def clean(r, report):
    left = r.clean()
    if left:
        report.checking("cleaning up")
        report.checked("clean_up", "cleaning up", "failed", 0, left, f"what remains begins with {r.prefix}; it may be removed")
