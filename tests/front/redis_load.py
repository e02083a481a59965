"""Redis: many connections, and clients that check every answer for a while."""
import threading

from checks import Failed, check, expect
from load import Load
from redis_run import RedisRun as Run
from resp import encode


@check("redis", "basic", "many connections at once")
def connections(r: Run):
    n, open_ones = r.size["connections"], []
    try:
        for i in range(n):
            try:
                open_ones.append(r.wire())
            except OSError as e:
                raise Failed(f"connection {i + 1} of {n}: {e}",
                             "limits: max_connections of puerta, LimitNOFILE of its service, ulimit -n here") from e
        for turn in range(3):
            for i, c in enumerate(open_ones):
                c.send(encode("SET", r.key(f"c{i}"), turn) + encode("GET", r.key(f"c{i}")))
            for i, c in enumerate(open_ones):
                expect([c.read(), c.read()], ["OK", b"%d" % turn], f"connection {i + 1}")
    finally:
        for c in open_ones:
            c.close()
    return f"{n} connections"


@check("redis", "basic", "pipelined INCR and APPEND of several connections")
def order(r: Run):
    n, k, seen = 500, r.key("order"), {}
    texts = [r.key(f"order-text{i}") for i in range(4)]

    def one(i):
        try:
            with r.wire() as c:
                replies = c.pipeline([x for j in range(n) for x in (("INCR", k), ("APPEND", texts[i], chr(97 + j % 26)))])
                seen[i] = (replies[::2], replies[1::2], c.command("GET", texts[i]))
        except OSError as e:
            seen[i] = e

    threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    for i in range(4):
        if isinstance(seen.get(i), Exception):
            raise seen[i]
        counts, lengths, text = seen[i]
        expect(counts, sorted(counts, key=int), "the INCR replies of one connection rise")
        expect(lengths, list(range(1, n + 1)), "APPEND")
        expect(text, bytes(97 + j % 26 for j in range(n)), "the letters appended")
    expect(sorted(x for counts, _, _ in seen.values() for x in counts), list(range(1, 4 * n + 1)), "all INCR replies together")
    return f"{8 * n} writes"


@check("redis", "basic", "a loop of clients: each write happens once, in order")
def consistency(r: Run):
    def names(i):
        return [r.key(f"loop{i}.{n}{kind}").decode() for n in range(4) for kind in ("", "t")]

    with Load(None, r.size["clients"], names, pause=0.002, connect=lambda: r.wire(timeout=30)) as load:
        load.ended.wait(r.size["seconds"])
    with r.wire() as c:
        wrong = load.verdict(lambda key: c.command("GET", key))
    if wrong:
        raise Failed(f"{len(wrong)} faults in {load.replies} replies, the first: {wrong[0]}",
                     "an error that says 'outcome unknown' or 'fails fast' is a node that was lost meanwhile: puerta's log names it")
    return f"{load.replies} replies of {r.size['clients']} clients in {r.size['seconds']} s"
