#!/usr/bin/env python3
"""forward = "connection" between clients and backends that are both mad, while backends drain in turn: whatever breaks off, comes in pieces, late, compressed or
not at all, no client gets an answer that is another's, or two, or one without the label it would retry for, or waits for ever.
Usage: mongo_chaos.py [--seconds 60] [--seed 1] [--clients 12]"""
import argparse
import itertools
import random
import socket
import sys
import threading
import time
from collections import Counter

import common
import bson
import puerta as rig
from bson.int64 import Int64
from cluster import free_port
from mongo_wire import EXHAUST, MORE, MSG, QUERY, SNAPPY, ZLIB, Malformed, Wire, awaiting, client_document, msg, parse, reply

HEALTH = {"interval": "100ms", "timeout": "500ms", "fall": 2, "rise": 1, "slow_start": "0s", "jitter": 0}
STUCK = 15  # seconds without an answer


def some(rng, probability):
    return rng.random() < probability


# ---- backends ----

class Mad:
    """A backend. It says whom an answer is for ("echo"), so that one that goes astray shows."""

    def __init__(self, seed):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.seed = seed
        self.version = {"processId": bson.ObjectId(b"%012d" % seed), "counter": Int64(0)}
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        for n in itertools.count():
            threading.Thread(target=self.serve, args=(self.socket.accept()[0], random.Random(self.seed * 100_000 + n)), daemon=True).start()

    def serve(self, sock, rng):
        w, ids, goes_on = Wire.__new__(Wire), itertools.count(1000), True
        w.sock = sock
        with sock:
            try:
                while goes_on:
                    m = parse(w.recv_raw())
                    if m.more and some(rng, 0.5):
                        continue  # at other times it answers what wants no answer, as some do
                    hello = next(iter(m.doc)) in ("hello", "isMaster")
                    goes_on = self.give(sock, rng, self.hello(rng, m, ids) if hello else self.answer(rng, m, ids))
            except (OSError, Malformed):
                pass

    def hello(self, rng, m, ids):
        d = {"isWritablePrimary": True, "ismaster": True, "msg": "isdbgrid", "minWireVersion": 0, "maxWireVersion": 21, "ok": 1.0,
             "topologyVersion": self.version, "compression": m.doc.get("compression", []), "pad": b"h" * rng.choice([0, 10, 5000])}
        if some(rng, 0.03):
            d = {"ok": 0.0, "errmsg": "no", "code": 1}
        n = next(ids)
        if m.opcode == QUERY:
            return reply(d, n, m.request_id)
        stream = m.flags & EXHAUST and "topologyVersion" in m.doc
        out = msg(d, n, m.request_id, flags=MORE if stream else 0)
        for _ in range(rng.randrange(4) if stream else 0):
            n, to = next(ids), n
            out += msg(d, n, to, flags=MORE)
        return out

    def answer(self, rng, m, ids):
        size = rng.choice([0, 1, 100, 70_000, 70_000, 2_000_000 if some(rng, 0.1) else 5])
        batch = [{"a": i} for i in range(rng.choice([0, 1, 100]))]
        d = {"cursor": {"firstBatch": batch, "id": Int64(rng.choice([0, 5, 6]))}, "echo": m.doc["n"], "x": b"q" * size, "ok": 1.0}
        return msg(d, next(ids), m.request_id, compressor=m.compressor if some(rng, 0.5) else None)

    def give(self, sock, rng, out):
        """Sends it, in one of many ways; False: that was the end."""
        r = rng.random()
        if r < 0.05:
            sock.sendall(b"" if r < 0.02 else out[: rng.randrange(len(out))] if r < 0.04 else rng.randbytes(rng.randrange(1, 100)))
            return False
        if r < 0.06:
            time.sleep(rng.random() * 3)
        elif r < 0.15:
            while out and some(rng, 0.98):
                sock.sendall(out[:7])
                out = out[7:]
                time.sleep(0.0002)
        sock.sendall(out)
        return not 0.06 <= r < 0.07


# ---- clients ----

class Client(Wire):
    """One connection: what it has asked, what it was answered, what was wrong with that."""

    def __init__(self, port, rng, tally, wrong):
        self.rng, self.tally, self.wrong = rng, tally, wrong
        self.sock = socket.socket()
        if some(rng, 0.3):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.settimeout(STUCK)
        self.sock.connect(("127.0.0.1", port))
        self.ids = itertools.count(1)
        self.waiting, self.silent, self.retryable, self.answered = set(), set(), set(), set()  # ids; silent: want no answer, some backends give one

    def live(self):
        """Until it is closed, or has had enough. TimeoutError: an answer is missing."""
        kind = self.rng.random()
        hello = {"hello": 1, "client": client_document(f"app{self.rng.randrange(8)}"), "compression": ["snappy", "zlib"]}
        hello |= {"loadBalanced": True} if kind < 0.2 else {"speculativeAuthenticate": {"saslStart": 1}} if kind > 0.9 else {}
        self.waiting.add(self.send(hello, opcode=MSG if some(self.rng, 0.7) else QUERY))
        self.take()
        for _ in range(self.rng.randrange(1, 40)):
            for _ in range(self.rng.choice([1, 1, 1, 3, 25])):
                self.request()
            if some(self.rng, 0.03):
                self.sock.shutdown(socket.SHUT_WR)
            if some(self.rng, 0.03):
                return
            if some(self.rng, 0.1):
                time.sleep(self.rng.random())
            while self.waiting:
                self.take()
        if some(self.rng, 0.3):
            self.watch()

    def request(self):
        rng, n = self.rng, next(self.ids)
        doc = rng.choice([{"find": "x"}, {"getMore": Int64(5), "collection": "x"}, {"ping": 1}, {"insert": "x", "txnNumber": Int64(1)}]) | {"n": n, "$db": "t"}
        if some(rng, 0.1):
            doc["pad"] = rng.randbytes(rng.choice([100, 17_000, 90_000, 500_000]))
        flags = MORE if some(rng, 0.2) else 0
        raw = msg(doc, n, flags=flags, compressor=rng.choice([None, None, None, SNAPPY, ZLIB]))
        (self.silent if flags else self.waiting).add(n)
        if "txnNumber" in doc:
            self.retryable.add(n)
        if some(rng, 0.1):
            cut = rng.randrange(len(raw))
            self.sock.sendall(raw[:cut])
            if some(rng, 0.1):
                raise ConnectionError("enough")
            time.sleep(rng.random() * 0.05)
            raw = raw[cut:]
        self.sock.sendall(raw)

    def take(self):
        m = self.recv()
        to = m.response_to
        self.tally["answers"] += 1
        if to in self.answered:
            self.wrong.append(f"{to} is answered twice: {m.doc!r:.200}")
        elif to not in self.waiting | self.silent:
            self.wrong.append(f"{to} was never asked: {m.doc!r:.200}")
        elif to in self.silent and "echo" not in m.doc:
            self.wrong.append(f"{to} wants no answer of puerta: {m.doc!r:.200}")
        elif to in self.retryable and m.doc.get("code") == 6 and "errorLabels" not in m.doc:
            self.wrong.append(f"{to} lacks its label: {m.doc!r:.200}")
        elif m.doc.get("echo", to) != to:
            self.wrong.append(f"{to} has the answer of {m.doc['echo']}")
        self.answered.add(to)
        self.waiting.discard(to)

    def watch(self):
        """As a monitor, a moment: each message names the one before it, but a first one after a move may be any hello's."""
        self.send({"hello": 1} | awaiting({"processId": bson.ObjectId(), "counter": Int64(0)}, 1000), flags=EXHAUST)
        self.sock.settimeout(1.5)
        try:
            for _ in range(self.rng.randrange(5)):
                if "echo" in (m := self.recv()).doc and m.response_to not in self.silent:
                    self.wrong.append(f"a monitor hears {m.doc!r:.200}")
        except TimeoutError:
            self.tally["quiet monitors"] += 1


def clients(port, rng, tally, wrong, ended):
    """One after the other."""
    while not ended.is_set():
        try:
            with Client(port, rng, tally, wrong) as c:
                tally["clients"] += 1
                try:
                    c.live()
                except TimeoutError:
                    wrong.append(f"no answer within {STUCK} s to {sorted(c.waiting)[:5]} of {len(c.answered)} answered")
        except OSError:
            tally["closed"] += 1
        except Exception as e:  # whatever it was, it is not what a client should see
            wrong.append(repr(e))


def main(seconds, seed, n):
    backends = [Mad(seed * 10 + i) for i in range(3)]
    port, rng = free_port(), random.Random(seed)

    def text(drained):
        return rig.config(rig.mongo_listener([(b, {"drain": i == drained}) for i, b in enumerate(backends)], port, health=HEALTH), workers=1)

    p = rig.Puerta(text(None), port=port)
    wrong, tally, ended = [], Counter(), threading.Event()
    threads = [threading.Thread(target=clients, args=(port, random.Random(seed * 1000 + i), tally, wrong, ended), daemon=True) for i in range(n)]
    for t in threads:
        t.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end and p.alive() and not wrong:
        time.sleep(2)
        p.reload(text(rng.randrange(5)))
        tally["reloads"] += 1
    ended.set()
    for t in threads:
        t.join(3 * STUCK)
    wrong += ["a client does not end"] if any(t.is_alive() for t in threads) else []
    wrong += [] if tally["answers"] > 10 * seconds else [f"{tally['answers']} answers are too few to tell anything"]
    wrong += common.ended(p)
    print(f"seed {seed}: " + ", ".join(f"{v} {k}" for k, v in sorted(tally.items())))
    return common.verdict(wrong[:20])


if __name__ == "__main__":
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--seconds", type=float, default=60)
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--clients", type=int, default=12)
    a = args.parse_args()
    sys.exit(main(a.seconds, a.seed, a.clients))
