"""MongoDB: many connections, and clients that check every answer for a while."""
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from checks import Failed, check, expect
from mongo_run import MongoRun as Run
from pymongo import ReturnDocument
from pymongo.event_loggers import ConnectionPoolLogger


class Opened(ConnectionPoolLogger):
    """Counts connections that are ready for use."""

    def __init__(self):
        self.n, self.lock = 0, threading.Lock()

    def connection_ready(self, event):
        with self.lock:
            self.n += 1


@check("mongo", "basic", "many connections at once")
def connections(r: Run):
    n, each, opened = r.size["connections"], 20, Opened()
    clients = [r.client(f"puerta-check-{i}", maxPoolSize=each, minPoolSize=each, event_listeners=[opened]) for i in range(n // each)]
    try:
        for c in clients:
            expect(c.admin.command("ping")["ok"], 1, "ping")
        end = time.monotonic() + 30
        while opened.n < n // each * each and time.monotonic() < end:
            time.sleep(0.05)
        if opened.n < n // each * each:
            raise Failed(f"{opened.n} of {n} connections were opened within 30 s",
                         "limits: max_connections of puerta and of the servers, ulimit -n here")
        with ThreadPoolExecutor(64) as pool:
            said = list(pool.map(lambda i: clients[i % len(clients)].admin.command("ping")["ok"], range(4 * n)))
        expect(said, [1] * (4 * n), "ping over all of them")
    finally:
        for c in clients:
            c.close()
    return f"{n // each * each} connections of {len(clients)} clients"


@check("mongo", "basic", "a loop of clients: each write happens once")
def consistency(r: Run):
    stop, wrong, done = threading.Event(), [], []

    def one(i):
        try:
            with r.client(f"puerta-check-loop-{i}", maxPoolSize=3) as client, r.place(f"loop-{i}", client) as (db, s):
                done.append(flow(db, s, stop))
        except Exception as e:  # whatever it was, it is what the check found
            wrong.append(f"client {i}: {type(e).__name__}: {e}"[:400])

    threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(r.size["clients"])]
    for t in threads:
        t.start()
    try:
        stop.wait(r.size["seconds"])
    finally:  # whatever happens they drop what they have made
        stop.set()
        for t in threads:
            t.join(60)
    if any(t.is_alive() for t in threads):
        raise Failed("a client was never answered", "puerta's log says whether a backend hangs")
    if wrong:
        raise Failed(f"{len(wrong)} of {len(threads)} clients failed, one with {wrong[0]}", "puerta's log names a backend that was lost meanwhile")
    return f"{sum(done)} operations of {len(threads)} clients in {r.size['seconds']} s"


def flow(db, s, stop):
    """Counts up, inserts and reads in turns; how many operations that were."""
    n = 0
    db.counter.insert_one({"_id": 0, "n": 0}, session=s)
    while n == 0 or not stop.is_set():
        n += 1
        after = db.counter.find_one_and_update({"_id": 0}, {"$inc": {"n": 1}}, return_document=ReturnDocument.AFTER, session=s)
        expect(after["n"], n, "the counter")
        db.log.insert_one({"_id": n, "text": "x" * (n % 500)}, session=s)
        expect(len(db.log.find_one({"_id": n}, session=s)["text"]), n % 500, "what was inserted just now")
        if n % 50 == 0:
            last = [d["_id"] for d in db.log.find({}, session=s, batch_size=7).sort("_id", -1).limit(50)]
            expect(last, list(range(n, n - 50, -1)), "the last 50, in batches")
    expect(db.log.count_documents({}, session=s), n, "documents at the end")
    return 4 * n
