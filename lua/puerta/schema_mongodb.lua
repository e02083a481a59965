--- The options of puerta.mongodb. See schema.lua.

local address = require "puerta.address"
local listener = require "puerta.schema_listener"
local policy = require "puerta.policy_option"
local shape = require "puerta.shape"
local types = require "puerta.types"
local value = require "puerta.value"
local verifier = require "puerta.verifier"

local PORT = 27017 -- the usual one
local PASSWORD, USER, DATABASE = 512, 128, 63 -- bytes

local backend = shape.group {
  editor = "puerta.backend.options",
  options = {
    { 1, type = types.peer(PORT), required = true, missing = 'the address, like puerta.backend { "mongos-a:27017" }', doc = "the address of a mongos" },
    { "weight", type = types.integer(1, 1000), default = 1, doc = "its share of the clients, relative to the other backends" },
    { "drain", type = types.boolean(), default = false,
      doc = "it gets nothing new; its connections close as soon as they hold no cursor and no transaction" },
  },
}

local function backend_label(options, at)
  return type(options[1]) == "string" and "backend " .. value.describe(options[1]) or at.label .. at.path
end

-- The list of them; none twice.
local backends = shape.list(shape.constructed { backend = { group = backend, label = backend_label } }, 256, '{ puerta.backend { "mongos-a:27017" } }')
local check_backends = backends.check
function backends.check(v, at)
  local list, seen = check_backends(v, at), {}
  for i, one in ipairs(list or {}) do
    local name = one[1] and address.format(one[1])
    if name and seen[name] then
      local here = at:key(i)
      here.line = one.line
      here:fail(("%s is given twice, first on line %d"):format(name, seen[name]))
    elseif name then
      seen[name] = one.line
    end
  end
  return list
end

local pool = shape.group {
  editor = "puerta.pool",
  options = {
    { "min", type = types.integer(0, 1000), default = 0, doc = "connections kept open without use" },
    { "max", type = types.integer(1, 1000), default = 16, doc = "connections at most" },
    { "idle", type = types.duration({ "1s", "24h" }, "10m"), default = "10m", doc = "how long a connection above `min` is kept without use" },
    { "wait", type = types.duration({ "10ms", "10m" }, "5s"), default = "5s", doc = "how long a request waits for a free connection before it fails" },
    { "queue", type = types.integer(1, 1000000), default = 10000, doc = "requests that may wait; more fail at once" },
  },
  rule = function(p, at)
    if p.min and p.max and p.min > p.max then at:key("min"):fail(("expected at most max, %d"):format(p.max)) end
  end,
}

local prefix = shape.group {
  editor = "puerta.prefix",
  options = {
    { "v4", type = types.integer(0, 32), default = 32, doc = "bits of an IPv4 address" },
    { "v6", type = types.integer(0, 128), default = 64, doc = "bits of an IPv6 address" },
  },
}

local timeouts = shape.group {
  editor = "puerta.timeouts",
  options = {
    { "connect", type = types.duration({ "10ms", "10m" }, "1s"), default = "1s", doc = "time to reach a backend, and to authenticate there" },
    { "handshake", type = types.duration({ "10ms", "10m" }, "10s"), default = "10s", doc = "a client has to say hello within" },
    { "idle", type = types.duration({ "30m", "720h" }, "1h"), default = "1h", doc = "a client that sends nothing for so long is disconnected" },
    { "request", type = types.duration({ "10ms", "720h" }, "30s", true), default = "0s", doc = 'how long a reply may take; `"0s"`: for ever' },
    { "stall", type = types.duration({ "1s", "24h" }, "60s", true), default = "60s",
      doc = 'a client in the middle of a request, or with a reply to read, that moves less than 16 KiB within it is disconnected; `"0s"`: never' },
  },
}

local health = shape.group {
  editor = "puerta.health",
  options = {
    { "interval", type = types.duration({ "10ms", "1h" }, "2s"), default = "2s", doc = "between two checks of a backend" },
    { "timeout", type = types.duration({ "10ms", "1m" }, "1s"), default = "1s", doc = "how long the answer to a check may take" },
    { "jitter", type = types.integer(0, 50), default = 10, doc = "percent of the interval, at random, so that proxies do not check in step" },
    { "rise", type = types.integer(1, 100), default = 2, doc = "good checks in a row that bring a backend back" },
    { "fall", type = types.integer(1, 100), default = 2, 
      doc = "bad checks in a row that take it out: one that is dead is out within interval × fall + timeout (if (1 + retries) × timeout fit into the interval)" },
    { "retries", type = types.integer(0, 10), default = 0, doc = "times a check is repeated at once before it counts as bad" },
    { "slow_start", type = types.duration({ "100ms", "1h" }, "30s", true), default = "30s",
      doc = 'how long a backend that came back gets less than its share of what is new; `"0s"`: not at all' },
    { "require_mongos", type = types.boolean(), default = false, doc = 'a backend has to call itself a mongos (`msg: "isdbgrid"`)' },
    { "resolve", type = types.duration({ "1s", "24h" }, "30s"), default = "30s", doc = "between two look-ups of the backends' names" },
  },
}

local proxy_protocol = shape.group {
  editor = "puerta.proxy_protocol",
  options = {
    { "from", type = shape.list(types.range(), 256, '{ "10.0.0.0/8" }'),
      doc = "load balancers: a connection from these addresses begins with a PROXY header (v1 or v2) that tells the client's; from others none is expected" },
    { "send", type = types.enum { "off", "v1", "v2" }, default = "off",
      doc = 'the header that backends get at the start of each connection; needs `forward = "connection"`' },
  },
}

local user = shape.group {
  editor = "puerta.mongodb.user",
  options = {
    { "user", type = types.text(USER), required = true, doc = "the user" },
    { "verifier", type = verifier, required = true, missing = 'option "verifier": `puerta --scram USER` makes it of a password',
      doc = "checks the password without telling it" },
  },
}

local backend_auth = shape.group {
  editor = "puerta.mongodb.backend_auth",
  options = {
    { "user", type = types.text(USER), required = true, doc = "the user" },
    { "password", type = types.secret(PASSWORD), required = true, doc = "the password" },
    { "source", type = types.text(DATABASE), default = "admin", doc = "the database the user is kept in" },
    { "mechanism", type = types.enum { "auto", "SCRAM-SHA-1", "SCRAM-SHA-256" }, default = "auto", doc = "`auto`: the best that both sides know" },
  },
}

-- Options that mean nothing with forward = "connection".
local per_request = {
  pool = "each client has a connection to its backend of its own",
  auth = "clients authenticate to their backend themselves",
  compression = "messages pass through as clients and backends agreed",
}

local function rule(options, at)
  if options.forward ~= "connection" then
    if options.proxy_protocol and options.proxy_protocol.send ~= "off" and options.forward == "request" then
      at:key("proxy_protocol"):key("send"):fail 'expected forward = "connection" with send: connections to backends are shared by clients'
    end
    return
  end
  if options.affinity and options.affinity.name == "session_id" then
    at:key("affinity"):fail 'expected forward = "request" with "session_id": sessions are seen in requests, not in connections'
  end
  for _, name in ipairs { "pool", "auth", "compression" } do
    if options[name] then at:key(name):fail(('expected forward = "request" with %s: with "connection" %s'):format(name, per_request[name])) end
  end
end

local mongodb = shape.group {
  editor = "puerta.mongodb.options",
  rule = rule,
  options = listener.with_common {
    listener.bind(PORT),
    { "backends", type = backends, required = true, doc = "the mongos processes, 256 at most" },
    listener.name "mongodb",
    { "forward", type = types.enum { "connection", "request" }, default = "connection", restart = true,
      doc = "`connection`: a client's connection goes to one backend whole; `request`: each request is placed, and clients share connections to the backends" },
    { "affinity", type = policy.affinity, default = "hybrid",
      doc = "what keeps a client on its backend: `hybrid`, `fingerprint`, `session_id` (needs `forward = \"request\"`), `socket_addr`, see "
        .. "[below](#affinity), or the path of a `.lua` file (relative to the configuration)" },
    { "session_timeout", type = types.duration({ "1s", "24h" }, "30m"), default = "30m",
      doc = "how long a client, session or cursor is remembered without use" },
    { "max_sessions", type = types.integer(1, 10000000), default = 100000,
      doc = "how many of them are remembered; beyond it the least recently used ones are forgotten" },
    { "prefix", type = prefix, default = {}, default_doc = "see below", doc = "how much of a client's address counts for affinity" },
    { "fingerprint_ip", type = types.boolean(), default = true,
      doc = "the address, up to `prefix`, belongs to the fingerprint; `false` for clients behind several addresses of a NAT" },
    { "pool", type = pool, default = function(options) return options.forward == "request" and {} or nil end, default_doc = "see below",
      doc = 'connections from each worker to each backend; needs `forward = "request"`' },
    { "timeouts", type = timeouts, default = {}, default_doc = "see below", doc = "time limits" },
    { "buffer", type = types.size({ "16KiB", "64MiB" }, "256KiB"), default = "256KiB",
      doc = "bytes that wait for one side of a client's connection before no more are read from the other" },
    { "health", type = health, default = {}, default_doc = "see below", doc = "how backends are checked" },
    { "proxy_protocol", type = proxy_protocol, default = {}, default_doc = "see below", doc = "PROXY headers of load balancers" },
    { "auth", type = listener.users(user, "verifier"),
      doc = 'who may connect, by SCRAM-SHA-256; without it everybody may. Needs `forward = "request"`; with `"connection"` backends decide' },
    { "backend_auth", type = backend_auth, doc = "how puerta authenticates to backends: for checks, and with `forward = \"request\"` for everything" },
    { "compression", type = shape.list(types.enum { "snappy", "zlib", "zstd" }, 3), doc = 'what clients may compress with; needs `forward = "request"`' },
  },
}

return {
  listener = { group = mongodb, label = listener.label("mongodb", PORT) },
  groups = {
    { "puerta.mongodb", mongodb, doc = "A listener for MongoDB clients before several mongos. `bind` and `backends` suffice." },
    { "puerta.backend", backend, doc = "An element of `backends` in `puerta.mongodb`." },
    { "prefix", prefix, doc = "In `puerta.mongodb`." },
    { "pool", pool, doc = "In `puerta.mongodb`; counted per worker and backend." },
    { "timeouts", timeouts, doc = "In `puerta.mongodb`." },
    { "health", health, doc = "In `puerta.mongodb`." },
    { "proxy_protocol", proxy_protocol, doc = "In `puerta.mongodb`." },
    { "auth of MongoDB", user, doc = "In `puerta.mongodb`." },
    { "backend_auth of MongoDB", backend_auth, doc = "In `puerta.mongodb`." },
  },
}
