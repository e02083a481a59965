"""Load whose every reply is checked: streams of pipelined INCR, APPEND and GET, each connection with keys of its own.

One connection alone writes a key, so the value after each of its writes is known in advance: a lost, doubled or reordered effect shows in the very
next reply. An error is judged by its text: "outcome unknown" means the write may have happened, any other that it has not; which errors a test
allows is the test's decision.
"""
import collections
import random
import threading
import time

from resp import Conn, Error, encode

LETTERS = b"abcdefghijklmnopqrstuvwxyz"


def letters(n):
    """What a key holds after n APPENDs."""
    return (LETTERS * (n // 26 + 1))[:n]


class Key:
    """A counter or a text: its value (length) is the writes acknowledged, plus those of unknown outcome that happened, whenever they did."""

    def __init__(self, name):
        self.name = name
        self.text = name.endswith("t")
        self.acked = self.unknown = self.last = 0
        self.ahead = 0        # writes that a read has seen and that are not answered yet
        self.next = 0         # letters sent so far
        self.lossy = False    # its master was killed: an acknowledged write may be gone, as Redis says

    def read(self, value):
        """Can a GET answer this now? A read that was sent again after a loss may see later writes of its own connection: those lost with it."""
        self.ahead = max(0, value - self.acked - self.unknown)
        return self.moved_to(value, self.acked)

    def wrote(self, value):
        """Can a write answer this now?"""
        self.acked += 1
        ahead, self.ahead = self.ahead, 0  # what a read has seen ahead of time must not be acknowledged as if it came after
        return not ahead and value <= self.acked + self.unknown and self.moved_to(value, max(self.acked, self.last + 1))

    def lost(self):
        """A write of unknown outcome."""
        self.unknown += 1
        self.ahead = max(0, self.ahead - 1)

    def moved_to(self, value, least):
        sane = self.lossy or value >= max(least, self.last)
        self.last = value
        return sane


class Flow(threading.Thread):
    """One connection and its keys."""

    def __init__(self, load, index, names):
        super().__init__(daemon=True)
        self.load, self.index = load, index
        self.keys = [Key(n) for n in names]
        self.rng = random.Random(load.seed * 1000 + index)
        self.replies = 0
        self.wrong = []       # replies that cannot be true
        self.errors = []      # (time, key, text)
        self.flying = collections.deque()  # requests without a reply, oldest first
        self.broken = None    # the exception that ended the connection
        self.progress = 0.0   # when the last reply came

    def run(self):
        try:
            with self.load.connect() as c:
                while any(isinstance(r, Error) for r in c.pipeline([("DEL", k.name) for k in self.keys])):
                    time.sleep(0.05)
                while not self.load.ended.is_set():
                    self.turn(c)
                self.read(c, down_to=0)
                self.wrong += [f"{k.name}: a read saw {k.ahead} writes that were never sent" for k in self.keys if k.ahead]
        except Exception as e:  # whatever it was, the test reads it
            self.broken = e

    def turn(self, c):
        """Sends a few requests, then reads some of the replies that are due: the next ones leave while earlier ones are on their way."""
        batch = [(self.rng.choice(self.keys), self.rng.random() < 0.15) for _ in range(self.rng.randint(1, 6))]
        commands = []
        for key, get in batch:
            if get:
                commands.append(("GET", key.name))
            elif key.text:
                commands.append(("APPEND", key.name, LETTERS[key.next % 26 : key.next % 26 + 1]))
                key.next += 1
            else:
                commands.append(("INCR", key.name))
        c.send(b"".join(encode(*x) for x in commands))
        self.flying.extend(batch)
        self.read(c, down_to=self.rng.randint(0, self.load.depth))
        if self.load.pause:
            time.sleep(self.load.pause)

    def read(self, c, down_to):
        while len(self.flying) > down_to:
            key, get = self.flying.popleft()
            reply = c.read()
            self.replies += 1
            self.progress = time.monotonic()
            self.check(key, get, reply)

    def check(self, key, get, reply):
        before = f"{key.acked} writes, {key.unknown} unknown, last {key.last}"
        if isinstance(reply, Error):
            self.errors.append((time.monotonic(), key.name, str(reply)))
            if not get and "outcome unknown" in reply:
                key.lost()
            return
        if get:
            right = key.read(0 if reply is None else len(reply) if key.text else int(reply))
        else:
            right = isinstance(reply, int) and key.wrote(reply)
        if not right:
            self.wrong.append(f"{'GET' if get else 'APPEND' if key.text else 'INCR'} {key.name}: {reply!r:.100} after {before}")


class Load:
    """flows connections; names(i) gives the keys of connection i: those that end in "t" hold text, the others count. connect() makes a connection of
    another kind than a plain one to the port."""

    def __init__(self, port, flows, names, depth=24, seed=1, pause=0, timeout=60, connect=None):
        self.depth, self.seed, self.pause, self.timeout = depth, seed, pause, timeout
        self.connect = connect or (lambda: Conn(port, timeout=timeout))
        self.ended = threading.Event()
        self.flows = [Flow(self, i, names(i)) for i in range(flows)]

    def __enter__(self):
        for f in self.flows:
            f.start()
        return self

    def __exit__(self, *exc):
        self.end()

    def end(self):
        self.ended.set()
        for f in self.flows:
            f.join(self.timeout + 10)
            if f.is_alive():
                f.broken = TimeoutError("a pipeline was never answered")

    @property
    def replies(self):
        return sum(f.replies for f in self.flows)

    @property
    def errors(self):
        return [e for f in self.flows for e in f.errors]

    @property
    def wrong(self):
        return [w for f in self.flows for w in f.wrong]

    @property
    def broken(self):
        return [f"connection {f.index}: {f.broken!r}" for f in self.flows if f.broken]

    def keys(self):
        return [k for f in self.flows for k in f.keys]

    def verdict(self, read):
        """Everything that is wrong when no error at all is allowed. read(name) is the value that the cluster holds."""
        bad = self.broken + self.wrong[:10] + [f"{k}: {text}" for _, k, text in self.errors[:10]]
        for k in self.keys():
            have = read(k.name)
            if k.text:
                want = letters(k.acked) or None
            else:
                want = str(k.acked).encode() if k.acked else None
            if have != want:
                bad.append(f"{k.name} holds {have!r:.100} at the end, expected {want!r:.100}")
        return bad
