"""The live page of the admin server in a real browser, before a real cluster and scripted mongos, with traffic."""
import json
import signal
import threading
import urllib.request

import puerta as rig
import pytest
from browser import WIDTHS, Tab, chromium
from cluster import free_port
from conftest import Starter
from load import Load
from mongo_wire import greeted, lsid
from mongos import Trio
from puerta import WORKERS

ARTIFACTS = rig.BUILD / "artifacts"
HEALTH = {"interval": "200ms", "timeout": "1s", "jitter": 0, "fall": 1, "rise": 1, "slow_start": "0s"}
HOSTILE = "<img src=x onerror=alert(1)>"

# The number a figure of the first listener card shows, or a tile.
FIGURE = """([name, where]) => { const t = [...document.querySelectorAll(where + ' dt')].find(x => x.textContent === name);
  return t && parseFloat(t.nextSibling.textContent.replaceAll(',', '')); }"""

# How many slots of the map are not in full colour.
DIMMED = """() => { const copy = new OffscreenCanvas(256, 64).getContext('2d', { willReadFrequently: true });
  copy.drawImage(document.querySelector('.slots canvas'), 0, 0);
  return copy.getImageData(0, 0, 256, 64).data.filter((v, i) => i % 4 === 3 && v < 255).length; }"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as b:
        yield b


@pytest.fixture(scope="module")
def trio():
    with Trio() as t:
        yield t


class Admin:
    """A puerta with a listener of each kind, and its admin address."""

    def __init__(self, starter, cluster, trio, **admin):
        self.redis, self.mongodb, port = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}/"
        self.puerta = starter.text(rig.config(
            rig.listener(cluster, self.redis, name="cache"),
            rig.mongo_listener(trio.addresses, self.mongodb, name="orders", forward="request", affinity="session_id", health=HEALTH),
            workers=WORKERS, admin={"bind": f"127.0.0.1:{port}"} | admin))

    def get(self, path):
        return json.load(urllib.request.urlopen(self.url + path))


class Talk(threading.Thread):
    """A MongoDB client that says something in a new session again and again, until it is told to end."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.ended = port, threading.Event()
        self.start()

    def run(self):
        with greeted(self.port) as w:
            while not self.ended.wait(0.02):
                w.command({"find": "numbers", "filter": {"n": 1}, "lsid": lsid()})


@pytest.fixture(scope="module")
def admin(cluster, trio):
    s = Starter()
    yield Admin(s, cluster, trio)
    s.end()


@pytest.fixture(scope="module")
def busy(admin):
    """The same with traffic on both listeners."""
    talk = Talk(admin.mongodb)
    with Load(admin.redis, 4, lambda i: [f"page{i}:{k}{'t' if k % 2 else ''}" for k in range(8)], pause=0.002):
        yield admin
        talk.ended.set()
        talk.join(10)


@pytest.fixture
def tab(browser):
    tabs = []

    def new(url, **kwargs):
        tabs.append(Tab(browser, url, **kwargs))
        return tabs[-1]

    yield new
    for t in tabs:
        t.close()


def test_policy_of_the_page(admin):
    """One file, allowed to run exactly the script and the style that are in it, and to ask only where it came from."""
    with urllib.request.urlopen(admin.url) as r:
        body, policy = r.read(), r.headers["Content-Security-Policy"]
        assert r.headers["Content-Type"] == "text/html; charset=utf-8"
    assert len(body) < 60 * 1024
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy and "unsafe" not in policy
    assert b"http://" not in body.replace(b"http://www.w3.org/", b"") and b"https://" not in body


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("width", WIDTHS)
def test_numbers_move(busy, tab, width, scheme):
    t = tab(busy.url, width=width, scheme=scheme)
    t.wait("() => document.querySelectorAll('.log li').length > 2")
    for name, where in [("requests", ".listener"), ("p50", ".listener"), ("requests", ".listener:nth-child(2)"), ("Requests", "#tiles")]:
        first = t.wait(FIGURE, [name, where])  # one that is shown, and not 0
        t.wait(f"([a, first]) => {{ const now = ({FIGURE})(a); return now && now !== first; }}", [[name, where], first])
    lines = t.page.locator("#charts path")
    before = lines.first.get_attribute("d")
    t.wait("d => document.querySelector('#charts path').getAttribute('d').length > d.length + 20", before)
    assert t.text("#state") == "ready" and lines.count() == 2 + 4
    assert t.page.title().endswith("/s · puerta")
    assert t.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "scrolls sideways"
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    t.page.screenshot(path=ARTIFACTS / f"page-{width}-{scheme}.png", full_page=True)
    assert not t.wrong


def test_it_says_what_status_says(busy, cluster, trio, tab):
    t = tab(busy.url)
    t.wait("() => document.querySelectorAll('.listener tbody tr').length === 9")
    nodes, backends = (t.page.locator(f".listener:nth-child({i}) tbody tr") for i in (1, 2))
    status = busy.get("status")
    redis, mongodb = status["listeners"]
    assert sorted(r.split()[0] for r in nodes.all_inner_texts()) == sorted(n["address"] for n in redis["nodes"])
    masters = [r for r in nodes.all_inner_texts() if "master" in r]
    assert len(masters) == 3 and sum(int(r.split()[3].replace(",", "")) for r in masters) == 16384
    assert [r.split()[0] for r in backends.all_inner_texts()] == [b["name"] for b in mongodb["backends"]]
    assert t.text(".slots + output") == "16384 slots on 3 nodes"
    assert t.text("#policies tbody").split()[:2] == ["cache", redis["policy"]["name"]]
    t.page.click("summary")
    assert int(t.text("#totals").split("accepted")[1].split()[0].replace(",", "")) > 0
    assert not t.wrong


def test_keys_and_pointer(busy, tab):
    """The slot map and the charts answer to the keyboard as to the pointer; a node's slots can be shown alone."""
    t = tab(busy.url)
    t.wait("() => document.querySelector('#charts path')?.getAttribute('d').length > 40")
    readout = t.page.locator(".slots + output")
    t.page.focus(".slots canvas")
    for key in ("Home", "ArrowRight", "ArrowDown"):
        t.page.keyboard.press(key)
    assert readout.inner_text().startswith("slot 257 · 127.0.0.1:")
    t.page.keyboard.press("End")
    assert readout.inner_text().startswith("slot 16383 · 127.0.0.1:")
    box = t.page.locator(".slots canvas").bounding_box()
    t.page.mouse.move(box["x"] + 1, box["y"] + 1)
    assert readout.inner_text().startswith("slot 0 · ")
    assert t.page.evaluate(DIMMED) == 0
    t.page.locator(".listener td button:enabled").first.click()
    assert 10000 < t.page.evaluate(DIMMED) < 12000, "the slots of the two other masters are not dimmed"
    t.page.focus("#charts svg")
    t.page.keyboard.press("ArrowLeft")
    assert "cache" in t.text("#charts .tip") and ":" in t.text("#charts .tip").split("\n")[0]
    assert not t.wrong


def test_a_backend_goes_down(busy, trio, tab):
    t = tab(busy.url)
    row = t.page.locator(".listener:nth-child(2) tbody tr").first
    t.wait("() => document.querySelector('.listener:nth-child(2) tbody .chip')?.textContent === 'up'")
    trio[0].kill()
    try:
        t.wait("() => document.querySelector('.listener:nth-child(2) tbody .chip').textContent === 'down'")
        assert "refused" in row.inner_text()  # why, as the health check has it
        t.wait("() => [...document.querySelectorAll('.log .warn')].some(l => l.textContent.includes('down'))")
    finally:
        trio[0].start()
    t.wait("() => document.querySelector('.listener:nth-child(2) tbody .chip').textContent === 'up'")


def test_token(start, cluster, trio, tab):
    """Asked for, refused when wrong, kept for the tab and for nobody else."""
    a = Admin(start, cluster, trio, token="s3cret")
    t = tab(a.url)
    t.page.fill("#token", "guess")
    t.page.keyboard.press("Enter")
    t.wait("() => document.querySelector('#refused').textContent")
    assert t.page.is_hidden("#main")
    t.page.fill("#token", "s3cret")
    t.page.click("#ask button")
    t.wait("() => document.querySelectorAll('.listener').length === 2")
    assert t.page.is_hidden("#ask")
    t.page.reload()
    t.wait("() => document.querySelectorAll('.listener').length === 2")
    assert all("401" in w for w in t.wrong) and t.page.evaluate("[localStorage.length, document.cookie]") == [0, ""]


def test_gone_and_back(start, cluster, trio, tab):
    """A server that ends is said to be gone, and found again by itself; the counters of the new one begin again."""
    a = Admin(start, cluster, trio)
    t = tab(a.url)
    t.wait("() => document.querySelector('#state').textContent === 'ready'")
    a.puerta.kill(signal.SIGTERM)
    a.puerta.wait_exit()
    t.wait("() => !document.querySelector('#notice').hidden")
    assert t.text("#notice").startswith("No answer from puerta since") and t.page.title() == "no answer · puerta"
    again = start.text(a.puerta.file.read_text())
    t.wait("pid => document.querySelector('#about').textContent.includes(pid)", f"pid {again.pid}")
    assert t.page.is_hidden("#notice") and t.text("#state") == "ready"
    assert not [w for w in t.wrong if "ERR_CONNECTION_REFUSED" not in w]


def test_what_the_server_says_is_text(admin, tab, browser):
    """Names, addresses and log lines that look like HTML, a hundred nodes, and a listener that has seen nothing."""
    nodes = [{"address": f"{HOSTILE}:{i}", "role": "master", "up": i % 7 > 0, "inflight": 0, "latency_us": 0, "requests": 0, "lost": 0} for i in range(100)]
    empty = {"bounds_us": [100, 1000], "counts": [0, 0, 0], "sum_us": 0}
    policy = {"name": HOSTILE, "calls": 0, "failures": 0, "ns": 0, "suspended": True}
    status = admin.get("status") | {"version": HOSTILE, "state": HOSTILE, "listeners": [
        {"name": HOSTILE, "kind": "redis", "bind": HOSTILE, "clients": 0, "requests": 0, "latency": empty, "policy": policy, "nodes": nodes,
         "slots": [[i * 163, i * 163 + 162, i] for i in range(100)]},
        {"name": "b", "kind": "mongodb", "bind": HOSTILE, "clients": 0, "requests": 0, "latency": empty, "policy": policy,
         "backends": [{"name": HOSTILE, "state": HOSTILE, "why": HOSTILE}]}]}
    log = [{"ts": HOSTILE, "level": HOSTILE, "event": HOSTILE, "msg": HOSTILE}]
    t = Tab(browser, "about:blank", width=390)
    t.url = admin.url
    try:
        t.page.route("**/status", lambda r: r.fulfill(json=status))
        t.page.route("**/log", lambda r: r.fulfill(json=log))
        t.page.goto(admin.url)
        t.wait("() => document.querySelectorAll('.listener tbody tr').length === 101 && document.querySelector('.log li')")
        assert t.page.locator("img").count() == 0
        assert t.text(".listener h2") == HOSTILE and HOSTILE in t.text(".log")
        assert "84 without an owner" in t.text(".slots + output")
        assert t.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "scrolls sideways"
        assert not t.wrong
    finally:
        t.close()
