#!/usr/bin/env python3
"""Writes the Redis command table from a real server's COMMAND and COMMAND DOCS:

    src/wire/command_table.c          every command and subcommand, and a perfect hash over their names
    tests/unit/command_keys_cases.h   sample command lines with the server's own answer to COMMAND GETKEYS

Usage: gen_commands.py [--port N] [--check]
Starts a redis-server of its own (a socket in a temporary directory) unless --port names one on loopback. --check writes nothing
and ends with 1 when a file is out of date. What the proxy does with each command is decided by RULES below, nowhere else.
"""
import argparse, fnmatch, os, shlex, shutil, socket, subprocess, sys, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# ---- The rules. The first that names a command (fnmatch patterns; "a|b" is subcommand b of a) decides its verb. -------------------
RULES = [
    # Split over slots and merged.
    ("FAN", "mget mset del unlink exists touch"),
    # Answered by the proxy.
    ("LOCAL", """ping echo select quit reset auth hello readonly readwrite time
                 client client|setname client|getname client|id client|info client|no-evict client|help
                 client|setinfo client|no-touch"""),
    # No keys, and every master answers alike.
    ("ANY", "command command|* config|get info lolwut"),
    # Transactions.
    ("LATER", "multi exec discard watch unwatch"),
    # Pub/sub.
    ("LATER", "publish spublish subscribe unsubscribe psubscribe punsubscribe ssubscribe sunsubscribe pubsub pubsub|*"),
    # Blocking. XREAD and XREADGROUP block only when they say BLOCK: they are keyed and the router looks.
    ("LATER", "blpop brpop brpoplpush blmove blmpop bzpopmin bzpopmax bzmpop wait"),
    # The whole cluster.
    ("LATER", "keys scan dbsize flushall flushdb randomkey script script|* function function|* lastsave"),
    # One particular node, or its administration.
    ("LATER", """cluster cluster|* config config|* client|* debug shutdown monitor sync psync replconf replicaof slaveof failover role
                 acl acl|* latency latency|* slowlog slowlog|* module module|* save bgsave bgrewriteaof swapdb move asking
                 restore-asking pfselftest memory memory|doctor memory|help memory|malloc-stats memory|purge memory|stats"""),
    # Containers whose subcommands have keys, and their HELP.
    ("KEYED", "object object|help xinfo xinfo|help xgroup xgroup|help"),
    # Keys: HAS_KEYS stands for every command that has some.
    ("KEYED", "HAS_KEYS"),
]
FANS = {"mget": "MGET", "mset": "MSET", "del": "SUM", "unlink": "SUM", "exists": "SUM", "touch": "SUM"}

# Subcommands newer than 7.0 that client libraries send unasked when they connect: name, arity, flags, group, since.
NEWER = [
    ("client|setinfo", 4, ["noscript", "loading", "stale"], "connection", "7.2"),
    ("client|no-touch", 3, ["noscript", "loading", "stale"], "connection", "7.2"),
]

# Keys that lie as no key specification of COMMAND can say.
BY_NAME = {"sort": "SORT", "migrate": "MIGRATE", "georadius": "GEORADIUS", "georadiusbymember": "GEORADIUS"}
# SORT_RO's further keys are patterns (BY, GET): the server looks at the first key only, so do we.
FIRST_ONLY = {"sort_ro"}

FLAGS = ["readonly", "write", "denyoom", "admin", "pubsub", "noscript", "blocking", "movablekeys", "no_auth", "container", "fast"]

# ---- Sample lines for the key extraction, beside one made up for every command whose keys are a plain range. ----------------------
SAMPLES = r"""
get k
set k v EX 10
mget a b c d
mset a 1 b 2 c 3
msetnx a 1 b 2
del a
del a b c
exists a a b
touch a b
unlink a b
rename a b
copy a b DB 0 REPLACE
lmove a b LEFT RIGHT
blmove a b LEFT RIGHT 0
rpoplpush a b
brpoplpush a b 0
blpop a b c 0
brpop a 1.5
bzpopmin a b 0
bitop AND d a b c
bitop NOT d a
pfcount a b c
pfmerge d a b
pfdebug ENCODING k
lcs a b LEN
sinter a b
sinterstore d a b
sunionstore d a b c
smove a b m
sintercard 2 a b LIMIT 3
sintercard 1 a
zintercard 3 a b c LIMIT 1
zinter 2 a b WEIGHTS 1 2
zunion 1 a
zdiff 2 a b WITHSCORES
zunionstore d 2 a b WEIGHTS 1 2 AGGREGATE MAX
zinterstore d 1 a
zdiffstore d 3 a b c
zrangestore d s 0 -1
zmpop 2 a b MIN COUNT 2
bzmpop 0 2 a b MAX
lmpop 1 a LEFT
lmpop 2 a b RIGHT COUNT 3
blmpop 1.5 2 a b LEFT
geosearchstore d s FROMMEMBER m BYRADIUS 1 km
geosearch k FROMMEMBER m BYRADIUS 1 km
georadius k 1 2 3 km
georadius k 1 2 3 km STORE d
georadius k 1 2 3 km storedist d
georadius k 1 2 3 km WITHCOORD COUNT 3 STORE d
georadius k 1 2 3 km STORE d STOREDIST e
georadius k 1 2 3 km STOREDIST e STORE d
georadius k 1 2 3 km STORE d STORE e
georadius k 1 2 3 km STORE
georadiusbymember k m 3 km STORE d
georadiusbymember k STORE 3 km
georadiusbymember k m 3 STORE d
georadiusbymember_ro k m 3 km
georadius_ro k 1 2 3 km
sort k
sort k STORE d
sort k BY w_* LIMIT 0 5 GET # GET o_* DESC ALPHA STORE d
sort k STORE d STORE e
sort k BY store STORE e
sort k GET STORE
sort k LIMIT STORE d STORE e
sort k STORE STORE
sort k STORE STORE d
sort k store d asc
sort_ro k BY w_* GET o_*
migrate h 1 k 0 100
migrate h 1 k 0 100 COPY REPLACE
migrate h 1 "" 0 100 KEYS a b c
migrate h 1 "" 0 100 COPY REPLACE AUTH pw KEYS a
migrate h 1 "" 0 100 AUTH KEYS KEYS a b
migrate h 1 "" 0 100 AUTH2 KEYS keys keys a b
migrate h 1 "" 0 100
xread STREAMS a 0
xread COUNT 2 STREAMS a b c 0 0 $
xread BLOCK 0 streams a b 0 1
xreadgroup GROUP g c STREAMS a >
xreadgroup GROUP streams c COUNT 1 NOACK STREAMS a b > >
xreadgroup GROUP g streams STREAMS a >
xinfo STREAM s FULL
xinfo GROUPS s
xinfo CONSUMERS s g
xgroup CREATE s g $ MKSTREAM
xgroup DESTROY s g
xadd s * f v
xclaim s g c 0 1-1
xautoclaim s g c 0 0
xack s g 1-1 2-2
eval "return 1" 0
eval "return 1" 0 a b
eval "return 1" 2 a b c
eval_ro "return 1" 1 a
evalsha abc 1 a
evalsha_ro abc 2 a b x y
fcall f 1 a x
fcall f 0 x
fcall_ro f 2 a b
object ENCODING k
object freq k
memory USAGE k SAMPLES 5
bitfield k GET u8 0
bitfield_ro k GET u8 0
getex k PERSIST
dump k
restore k 0 v REPLACE
lpush l a b c
hset h f v g w
zadd z NX 1 a 2 b
setrange k 1 x
substr k 0 1
expire k 10 NX
watch a b
config GET maxmemory
command COUNT
cluster KEYSLOT k
publish ch m
scan 0
"""


class Server:
    """A client of one server, RESP2."""

    def __init__(self, port):
        self.dir = self.process = None
        if port:
            self.sock = socket.create_connection(("127.0.0.1", port))
        else:
            self.dir = tempfile.mkdtemp(prefix="gen_commands.")
            path = os.path.join(self.dir, "s")
            self.process = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", self.dir],
                                            stdout=subprocess.DEVNULL)
            self.sock = socket.socket(socket.AF_UNIX)
            for _ in range(200):
                try:
                    self.sock.connect(path)
                    break
                except OSError:
                    time.sleep(0.05)
        self.stream = self.sock.makefile("rb")

    def __call__(self, *args):
        args = [a.encode() for a in args]
        self.sock.sendall(b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args))
        return self.read()

    def read(self):
        line = self.stream.readline()[:-2]
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            return RuntimeError(rest.decode())
        if kind == b"+":
            return rest.decode()
        if kind == b":":
            return int(rest)
        if rest == b"-1":
            return None
        if kind == b"$":
            return self.stream.read(int(rest) + 2)[:-2].decode()
        return [self.read() for _ in range(int(rest))]

    def close(self):
        if self.process:
            self.process.terminate()
            self.process.wait()
            shutil.rmtree(self.dir)


def pairs(flat):
    return dict(zip(flat[::2], flat[1::2]))


def read_commands(server):
    """name -> dict(arity, flags, keys), subcommands included."""
    groups, found = {}, {}
    for name, doc in pairs(server("COMMAND", "DOCS")).items():
        doc = pairs(doc)
        groups[name] = doc["group"]
        groups.update((sub, pairs(d)["group"]) for sub, d in pairs(doc.get("subcommands", [])).items())

    def add(entry):
        name, arity, flags, first, last, step, _, _, specs, subs = entry
        found[name] = dict(arity=arity, flags=set(flags) | ({"container"} if subs else set()), group=groups[name],
                           keys=key_spec(name, flags, first, last, step, [pairs(s) for s in specs]))
        for sub in subs:
            add(sub)

    for entry in server("COMMAND"):
        add(entry)
    for name, arity, flags, group, _ in NEWER:
        found.setdefault(name, dict(arity=arity, flags=set(flags), group=group, keys=("NONE", 0, 0, 0, 0)))
    return found


def key_spec(name, flags, first, last, step, specs):
    """(pt_keyspec, first, last, step, dest)."""
    if "movablekeys" not in flags or name in FIRST_ONLY:
        return ("RANGE", first, last, step, 0) if first else ("NONE", 0, 0, 0, 0)
    found, dest, words = None, 0, {}
    for spec in specs:
        begin, find = pairs(spec["begin_search"]), pairs(spec["find_keys"])
        at, how = pairs(begin["spec"]), pairs(find["spec"])
        if begin["type"] == "keyword":
            words[at["keyword"]] = at["startfrom"]
        elif find["type"] == "keynum":
            assert (how["keynumidx"], how["firstkey"], how["keystep"]) == (0, 1, 1), name
            found = at["index"]
        elif begin["type"] == "index":
            dest = at["index"]
    if name in BY_NAME:
        # dest: where the search for STORE begins.
        return (BY_NAME[name], first, last, step, words.get("STORE", 0))
    if "STREAMS" in words:
        return ("STREAMS", words["STREAMS"], 0, 0, 0)
    if found is None:
        sys.exit(f"no way known to find the keys of {name}")
    return ("NUM", found, 0, 0, dest)


def decide(commands):
    """Gives every command its verb; every rule must be of use."""
    used = set()
    for name, c in commands.items():
        for verb, patterns in RULES:
            hit = [p for p in patterns.split() if fnmatch.fnmatchcase(name, p) or (p == "HAS_KEYS" and c["keys"][0] != "NONE")]
            if hit:
                c["verb"] = verb
                used.update((verb, p) for p in hit)
                break
        else:
            sys.exit(f"no rule for {name}")
    for verb, patterns in RULES:
        for p in patterns.split():
            if (verb, p) not in used:
                sys.exit(f"rule without effect: {verb} {p}")


# ---- The perfect hash: the same arithmetic as src/wire/command.c. -----------------------------------------------------------------
BITS, FOLD, WORD = 13, 0x2020202020202020, (1 << 64) - 1


def hash_words(name):
    b = name.encode()
    if len(b) >= 8:
        head, tail = b[:8], b[-8:]
    elif len(b) >= 4:
        head, tail = b[:4], b[-4:]
    else:
        head, tail = bytes([b[0], b[len(b) // 2], b[-1]]), b""
    return int.from_bytes(head, "little") | FOLD, int.from_bytes(tail, "little") | FOLD


def perfect_hash(keys):
    """keys: (seed, name). The first multiplier of a fixed sequence that gives each its own slot, and the slots."""
    words = [(seed, *hash_words(name)) for seed, name in keys]
    multiplier = 0x9E3779B97F4A7C15
    while True:
        slots = {}
        for i, (seed, head, tail) in enumerate(words):
            h = (((head + seed) * multiplier & WORD) ^ tail) * multiplier & WORD
            if slots.setdefault(h >> (64 - BITS), i) != i:
                break
        else:
            return multiplier, slots
        multiplier = (multiplier * 6364136223846793005 + 1442695040888963407) & WORD | 1


def table_text(commands, version):
    names = sorted(commands)
    out = [f"/* Generated by tools/gen_commands.py from COMMAND of redis-server {version}. Do not edit. */",
           '#include "wire/command_table.h"', "", "/* clang-format off */",
           "/* name, id, arity, verb, fan, keyspec, first, last, step, dest, flags, group */", "const pt_command pt_commands[] = {"]
    newer = {n[0]: n[4] for n in NEWER}
    for i, name in enumerate(names):
        c = commands[name]
        flags = " | ".join("PT_CMD_" + f.upper() for f in FLAGS if f in c["flags"]) or "0"
        spec, *numbers = c["keys"]
        note = f" /* since {newer[name]} */" if name in newer else ""
        out.append(f'  {{"{name}", {i}, {c["arity"]}, PT_VERB_{c["verb"]}, PT_FAN_{FANS.get(name, "NONE")}, PT_KEYS_{spec}, '
                   f'{", ".join(map(str, numbers))}, {flags}, "{c["group"]}"}},{note}')
    out += ["};", "const unsigned pt_ncommands = sizeof pt_commands / sizeof *pt_commands;", ""]
    keys = []
    for name in names:
        container, _, sub = name.partition("|")
        keys.append((names.index(container) + 1, sub) if sub else (0, name))
    assert max(len(k) for _, k in keys) <= 24
    multiplier, slots = perfect_hash(keys)
    out += ["/* id + 1, bytes of the name, where it begins in pt_command.name */",
            f"const uint64_t pt_command_multiplier = 0x{multiplier:016x};",
            "const pt_command_slot pt_command_slots[1 << PT_COMMAND_BITS] = {"]
    line = " "
    for slot in sorted(slots):
        i = slots[slot]
        entry = f" [{slot}] = {{{i + 1}, {len(keys[i][1])}, {len(names[i]) - len(keys[i][1])}}},"
        if len(line + entry) > 130:
            out.append(line)
            line = " "
        line += entry
    return "\n".join(out + [line, "};"]) + "\n"


def made_up(commands):
    """A line for each command whose keys are a plain range."""
    for name in sorted(commands):
        c = commands[name]
        kind, first, last, step, _ = c["keys"]
        if kind != "RANGE" or "pubsub" in c["flags"]:
            continue
        n = abs(c["arity"])
        n += (first - n) % step + step if last == -1 else 0
        words = name.split("|")
        yield " ".join(words + [f"x{i}" for i in range(len(words), n)])


def cases_text(server, commands, version):
    out = [f"/* Generated by tools/gen_commands.py: answers of redis-server {version} to COMMAND GETKEYS. Do not edit. */",
           "/* clang-format off */", "static const struct keys_case { const char *line, *keys; } keys_cases[] = {"]
    for line in list(made_up(commands)) + SAMPLES.strip().splitlines():
        answer = server("COMMAND", "GETKEYS", *shlex.split(line))
        if isinstance(answer, RuntimeError):
            if "no key arguments" not in str(answer):
                sys.exit(f"{line}: {answer}")
            answer = []
        keys = " ".join(k or '""' for k in answer)
        quoted = [s.replace("\\", "\\\\").replace('"', '\\"') for s in (line, keys)]
        out.append('  {"%s", "%s"},' % tuple(quoted))
    return "\n".join(out + ["};"]) + "\n"


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--port", type=int, help="a running redis-server on 127.0.0.1")
    options.add_argument("--check", action="store_true", help="compare only")
    options = options.parse_args()
    server = Server(options.port)
    try:
        info = dict(l.split(":", 1) for l in server("INFO", "server").splitlines() if ":" in l)
        version = ".".join(info["redis_version"].split(".")[:2])
        commands = read_commands(server)
        decide(commands)
        texts = {"src/wire/command_table.c": table_text(commands, version),
                 "tests/unit/command_keys_cases.h": cases_text(server, commands, version)}
    finally:
        server.close()
    stale = 0
    for path, text in texts.items():
        full = os.path.join(ROOT, path)
        old = open(full).read() if os.path.exists(full) else ""
        if text == old:
            continue
        if options.check:
            print(f"{path} is out of date: run tools/gen_commands.py", file=sys.stderr)
            stale = 1
        else:
            with open(full, "w") as f:
                f.write(text)
            print("wrote", path)
    sys.exit(stale)


main()
