"""What /metrics tells, read by Prometheus' own parser: it is well formed, it moves, and it adds up."""
import socket
import time

import puerta as rig
import pymongo
import pytest
from admin import Admin
from certs import Authority
from cluster import wait_for
from mongos import Trio
from prometheus_client.parser import text_string_to_metric_families


def scrape(admin):
    """{(name, sorted labels): value} and {family: type}."""
    r = admin.get("/metrics")
    assert r.status == 200
    assert r.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    samples, types = {}, {}
    for family in text_string_to_metric_families(r.text):
        types[family.name] = family.type
        assert family.documentation, family.name
        for s in family.samples:
            key = (s.name, tuple(sorted(s.labels.items())))
            assert key not in samples, f"{key} twice"
            samples[key] = s.value
    check_histograms(samples, types)
    return Scrape(samples)


def check_histograms(samples, types):
    """Buckets rise and end with +Inf = count; each has a sum."""
    for family in (f for f, t in types.items() if t == "histogram"):
        series = {}
        for (name, labels), v in samples.items():
            if name == f"{family}_bucket":
                rest = tuple(x for x in labels if x[0] != "le")
                series.setdefault(rest, []).append((float(dict(labels)["le"]), v))
        for labels, buckets in series.items():
            buckets.sort()
            values = [v for _, v in buckets]
            assert values == sorted(values)
            assert buckets[-1] == (float("inf"), samples[f"{family}_count", labels])
            assert (f"{family}_sum", labels) in samples
    assert sum(t == "histogram" for t in types.values()) == 2


class Scrape:
    def __init__(self, samples):
        self.samples = samples

    def __call__(self, name, **labels):
        """The sum of the samples that have these labels."""
        hits = [v for (n, have), v in self.samples.items() if n == name and labels.items() <= dict(have).items()]
        assert hits, f"no {name} {labels}"
        return sum(hits)


def sock(tmp_path):
    return f"unix:{tmp_path}/a.sock", Admin(tmp_path / "a.sock")


@pytest.mark.threads
def test_redis_numbers_add_up(start, cluster, tmp_path):
    bind, admin = sock(tmp_path)
    p = start(cluster, top={"admin": {"bind": bind}, "workers": 2}, name="cache", slot_refresh="1s")
    before = scrape(admin)
    assert before("puerta_requests_total", listener="cache") == 0
    assert before("puerta_log_lost_total") == 0
    assert before("puerta_build_info") == 1 and before("puerta_ready") == 1 and before("puerta_workers") == 2
    assert before("puerta_cluster_slots", listener="cache") == 16384
    wait_for("replicas are in step", 20, lambda: scrape(admin)("puerta_node_up", listener="cache") == 6)

    conns = [p.connect() for _ in range(4)]
    for i, c in enumerate(conns):
        for k in range(100):
            c.command("SET", f"k{i}-{k}", "v")
        for k in range(50):
            c.command("GET", f"k{i}-{k}")
        c.command("MGET", *(f"k{i}-{k}" for k in range(20)))
        c.command("PING")
        c.command("NOSUCH")
    after = scrape(admin)
    duration = "puerta_request_duration_seconds_count"
    assert after("puerta_requests_total", listener="cache") == 4 * 153
    assert after(duration, listener="cache", **{"class": "write"}) == 400
    assert after(duration, listener="cache", **{"class": "read"}) == 200
    assert after(duration, listener="cache", **{"class": "fan"}) == 4
    assert after(duration, listener="cache", **{"class": "other"}) == 0
    assert after("puerta_clients", listener="cache") == 4
    assert after("puerta_accepted_total") == 4
    parts = after("puerta_policy_calls_total", listener="cache") - 600  # a fan asks for each part
    assert 4 * 2 <= parts <= 4 * 20
    assert after("puerta_node_duration_seconds_count", listener="cache") == 600 + parts
    assert after("puerta_policy_seconds_total", listener="cache") > 0
    assert after("puerta_policy_failures_total", listener="cache") == 0
    seconds = after("puerta_request_duration_seconds_sum", listener="cache", **{"class": "write"})
    assert 0 < seconds < 400  # each took less than a second
    assert after("process_resident_memory_bytes") > 1e6
    assert after("process_open_fds") > 10

    for c in conns:
        c.close()
    wait_for("clients have left", 5, lambda: scrape(admin)("puerta_clients", listener="cache") == 0)


def test_a_pipeline_is_counted_whole(start, cluster, tmp_path):
    bind, admin = sock(tmp_path)
    p = start(cluster, top={"admin": {"bind": bind}}, name="cache")
    c = p.connect()
    c.pipeline([("SET", f"p{i}", "x") for i in range(5000)] + [("GET", f"p{i}") for i in range(5000)])
    after = scrape(admin)
    assert after("puerta_requests_total", listener="cache") == 10000
    assert after("puerta_request_duration_seconds_count", listener="cache") == 10000
    assert after("puerta_node_duration_seconds_count", listener="cache") == 10000
    c.close()


def test_policy_failures_and_reloads(start, cluster, tmp_path):
    bind, admin = sock(tmp_path)
    policy = "return { route = function(req) if req:key_starts_with 'bad' then error 'no' end return -1 end }"
    p = start(cluster, top={"admin": {"bind": bind}}, files={"bad.lua": policy}, policy="bad.lua", name="cache")
    c = p.connect()
    for i in range(30):
        c.command("GET", "bad")
    after = scrape(admin)
    assert after("puerta_policy_failures_total", listener="cache") == 30
    assert after("puerta_reloads_total", result="ok") == 0
    assert admin.post("/reload").status == 200
    p.file.write_text("return 1")
    assert admin.post("/reload").status == 422
    after = scrape(admin)
    assert after("puerta_reloads_total", result="ok") == 1
    assert after("puerta_reloads_total", result="failed") == 1
    assert after("puerta_config_generation") == 2
    c.close()


@pytest.mark.threads
@pytest.mark.parametrize("forward", ["connection", "request"])
def test_mongodb_numbers_add_up(start, tmp_path, forward):
    bind, admin = sock(tmp_path)
    n = 40
    with Trio() as trio:
        p = start.keep(rig.Puerta.for_backends(trio.addresses, top={"admin": {"bind": bind}}, name="orders", forward=forward))
        with pymongo.MongoClient("127.0.0.1", p.port, serverSelectionTimeoutMS=10000) as client:
            things = client.db.things
            things.find_one()
            before = scrape(admin)
            things.insert_many([{"_id": i} for i in range(n)])
            for i in range(n):
                things.find_one({"_id": i})
            assert len(list(things.find({}, batch_size=7))) == n
            after = scrape(admin)

            def moved(name, **labels):
                return after(name, listener="orders", **labels) - before(name, listener="orders", **labels)

            duration = "puerta_request_duration_seconds_count"
            assert moved(duration, **{"class": "write"}) == 1
            assert moved(duration, **{"class": "read"}) == n + 1
            assert moved(duration, **{"class": "cursor"}) >= 4
            assert moved("puerta_requests_total") >= n + 6
            assert moved("puerta_node_duration_seconds_count") >= n + 6
            assert after("puerta_node_up", listener="orders") == 3
            assert after("puerta_clients", listener="orders") >= 1
            assert after("puerta_sessions", listener="orders") >= 1
            assert after("puerta_policy_calls_total", listener="orders") >= 1
            if forward == "request":
                wait_for("the pool's gauge", 5, lambda: scrape(admin)("puerta_pool_connections", listener="orders") >= 1)
            else:
                assert after("puerta_backend_connections", listener="orders") >= 1


def test_tls_numbers(start, cluster, tmp_path):
    """Handshakes whole, short and failed; when the certificate ends."""
    ca = Authority()
    where, admin = sock(tmp_path)
    p = start(cluster, tls=ca.issue("server", days=7).options(), top={"admin": {"bind": where}})
    ctx = ca.client()
    with p.connect(tls=ctx) as c:
        assert c.command("PING") == "PONG"
        session = c.sock.session
    with ctx.wrap_socket(socket.create_connection(("127.0.0.1", p.port)), server_hostname="127.0.0.1", session=session) as s:
        s.sendall(b"PING\r\n")
        assert s.recv(100) == b"+PONG\r\n"
    with p.connect() as plain:
        plain.send(b"PING\r\n")
        plain.closed()
    seen = wait_for("the failed handshake", 10, lambda: (m := scrape(admin))("puerta_tls_handshakes_total", result="failed") and m)
    assert [seen("puerta_tls_handshakes_total", result=r) for r in ("full", "resumed", "failed")] == [1, 1, 1]
    assert seen("puerta_tls_handshakes_waiting") == 0
    assert abs(seen("puerta_tls_certificate_expires_seconds", side="tls") - time.time() - 7 * 86400) < 3600
    ca.end()
