"""MongoDB: where clients and sessions land. A backend is told apart by what it says itself (serverStatus, else the process id in its hello)."""
import contextlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from checks import Failed, Skip, check
from mongo_run import MongoRun as Run
from pymongo.errors import OperationFailure

CLIENTS = 24
AFFINITY = 'the default affinity ("hybrid") and "fingerprint" go by appName, address and driver; other policies place otherwise'


def identity(client, forward, session=None):
    """What tells the backend that answers from others, as text."""
    try:
        said = client.admin.command("serverStatus", session=session)
        if "host" in said and "pid" in said:
            return f"{said['host']} pid {said['pid']}"
    except OperationFailure:
        pass
    if forward == "connection":
        version = client.admin.command("hello").get("topologyVersion")
        if version:
            return f"process {version['processId']}"
    raise Skip("the server tells nothing that shows which backend answers", "serverStatus needs the role clusterMonitor: --user of one who has it")


def spread(r, places):
    """How many of them landed where; fails when several backends are known and all landed on one."""
    counts = sorted(Counter(places).values(), reverse=True)
    if len(r.target.nodes) > 1 and len(counts) == 1:
        raise Failed(f"all {sum(counts)} landed on one of {len(r.target.nodes)} backends",
                     f"are the others down or draining (puerta's log)? {AFFINITY}")
    return f"{len(counts)} backend{'s' * (len(counts) > 1)}: {' + '.join(map(str, counts))}"


def by_connection(r):
    if r.target.forward != "connection":
        raise Skip("this target forwards requests, and places each session by itself, which is checked below")


@check("mongo", "routing", "all that a client asks, one backend answers")
def client_together(r: Run):
    by_connection(r)
    for i in range(4):
        with r.client(f"puerta-check-together-{i}", maxPoolSize=8, minPoolSize=8) as c:
            with ThreadPoolExecutor(8) as pool:
                seen = set(pool.map(lambda _: identity(c, r.target.forward), range(64)))
            if len(seen) != 1:
                raise Failed(f"appName puerta-check-together-{i} was answered by {len(seen)} backends: {', '.join(sorted(seen))}", AFFINITY)
    return "4 clients of 8 connections"


@check("mongo", "routing", "a client that comes again reaches the same backend")
def client_again(r: Run):
    by_connection(r)
    for i in range(8):
        seen = []
        for _ in range(3):
            with r.client(f"puerta-check-again-{i}") as c:
                seen.append(identity(c, r.target.forward))
        if len(set(seen)) != 1:
            raise Failed(f"appName puerta-check-again-{i} landed on {' then '.join(seen)}", AFFINITY)
    return "8 names, 3 times each"


@check("mongo", "routing", "clients spread over the backends")
def clients_spread(r: Run):
    by_connection(r)
    places = []
    for i in range(CLIENTS):
        with r.client(f"puerta-check-spread-{i}") as c:
            places.append(identity(c, r.target.forward))
    return f"{CLIENTS} clients over {spread(r, places)}"


@check("mongo", "routing", "a session stays on one backend")
def session_together(r: Run):
    with r.client(maxPoolSize=6) as c, ThreadPoolExecutor(6) as pool, contextlib.ExitStack() as stack:
        # All open at once: a driver gives the id of one that has ended to the next.
        sessions = [stack.enter_context(c.start_session()) for _ in range(CLIENTS)]
        turns = [list(pool.map(lambda s: identity(c, r.target.forward, s), sessions)) for _ in range(5)]
    for i, seen in enumerate(zip(*turns)):
        if len(set(seen)) != 1:
            raise Failed(f"session {i} was answered by {len(set(seen))} backends: {', '.join(sorted(set(seen)))}",
                         "puerta's log says whether a backend was lost or drained meanwhile")
    if r.target.forward == "connection":
        return f"{CLIENTS} sessions of one client"
    return f"{CLIENTS} sessions over {spread(r, turns[0])}"


@check("mongo", "routing", "a cursor's batches come from where it was opened")
def cursor_stays(r: Run):
    n = 60
    with r.client(maxPoolSize=6) as c, r.place("cursor", c) as (db, s), ThreadPoolExecutor(6) as pool:
        db.c.insert_many([{"_id": i} for i in range(n)], session=s)
        cursor = db.c.find({}, session=s, batch_size=5).sort("_id", 1)
        for i in range(n):
            if i % 5 == 0:
                list(pool.map(lambda _: c.admin.command("ping"), range(6)))
            d = next(cursor, None)
            if d != {"_id": i}:
                raise Failed(f"document {i} of a cursor is {d}")
    return f"{n // 5} batches with other requests in between"
