--- Every option of the configuration: type, default, what a reload can do with it, and what it is for. Validation, defaults, conf/REFERENCE.md and the
-- editor's stubs come from here and from nowhere else. See shape.lua for the form.

local address = require "puerta.address"
local policy = require "puerta.policy_option"
local shape = require "puerta.shape"
local types = require "puerta.types"
local value = require "puerta.value"

local REDIS, MONGODB = 6379, 27017 -- the usual ports

-- Bound by what the core can hold: 32 bits of length, room for a password in the greeting of a link.
local PASSWORD, USER = 512, 128

local function default_name(kind)
  return function(options) return options.bind and ("%s-%d"):format(kind, options.bind.port) end
end

-- How messages call a listener whose options may all be wrong.
local function listener_label(kind, port)
  return function(options, at)
    local name = options.name
    if name == nil and type(options.bind) == "string" then
      local bind = address.parse_bind(options.bind, port)
      name = bind and ("%s-%d"):format(kind, bind.port)
    end
    return type(name) == "string" and "listener " .. value.describe(name) or at.path
  end
end

local user = { "user", type = types.text(USER), default = "default", doc = "the user" }
local password = { "password", type = types.secret(PASSWORD), required = true, doc = "the password" }
local credentials = shape.group { options = { user, password }, editor = "puerta.credentials" }

-- One user may be written without the list around it.
local users = shape.list(credentials, 256)
local auth = { name = "`{ user =, password = }`, or a list of them", editor = "puerta.credentials|puerta.credentials[]", of = credentials }
function auth.check(v, at)
  if value.is_table(v) and (v.user ~= nil or v.password ~= nil) then
    local one = credentials.check(v, at)
    return one and { one }
  end
  local list = users.check(v, at)
  local seen = {}
  for i, one in ipairs(list or {}) do
    if one.user and seen[one.user] then at:key(i):fail(("user %s is given twice"):format(value.describe(one.user))) end
    seen[one.user or ""] = true
  end
  return list
end
auth.show = users.show

local backend = shape.group {
  editor = "puerta.backend.options",
  options = {
    { 1, type = types.peer(MONGODB), required = true, missing = 'the address, like puerta.backend { "mongos-a:27017" }', doc = "the address of a mongos" },
    { "weight", type = types.integer(1, 1000), default = 1, doc = "its share of the clients, relative to the other backends" },
  },
}

local function backend_label(options, at)
  return type(options[1]) == "string" and "backend " .. value.describe(options[1]) or at.label .. at.path
end

local redis = shape.group {
  editor = "puerta.redis.options",
  options = {
    { "bind", type = types.bind(REDIS), required = true, restart = true, doc = "where clients connect" },
    { "nodes", type = shape.list(types.peer(REDIS), 256, '{ "redis1:6379" }'), required = true,
      doc = "seeds: some nodes of the cluster, by name or address; the rest is discovered" },
    { "name", type = types.name(), default = default_name "redis", default_doc = '`"redis-<port>"`', restart = true, doc = "what logs call this listener" },
    { "auth", type = auth, doc = "who may connect: clients must AUTH or HELLO as one of these; without it everybody may. `user` is `\"default\"` when absent" },
    { "backend_auth", type = credentials, doc = "how puerta authenticates to the nodes; read when a connection is opened" },
    { "policy", type = policy, default = "slot_owner",
      doc = "who answers a request: `slot_owner`, `read_replica`, `read_near`, `c` (the slot owner without Lua), or the path of a `.lua` file "
        .. "(relative to the configuration)" },
    { "slot_refresh", type = types.duration({ "100ms", "24h" }, "60s"), default = "60s",
      doc = "how often the topology is asked for without an occasion; redirects and lost connections are occasions" },
    { "max_redirects", type = types.integer(0, 15), default = 5, doc = "MOVED, ASK, TRYAGAIN... one request may meet before its client gets an error" },
    { "connections", type = types.integer(1, 16), default = 1, restart = true, doc = "connections from each worker to each node" },
    { "connect_timeout", type = types.duration({ "10ms", "10m" }, "1s"), default = "1s", doc = "time to reach a node and to authenticate there" },
    { "request_timeout", type = types.duration({ "10ms", "1h" }, "5s"), default = "5s",
      doc = "a connection to a node without progress for so long is cut, and a request that waits for a redirect gives up" },
    { "retry_interval", type = types.duration({ "10ms", "1h" }, "1s"), default = "1s", doc = "how long requests for a failed node fail at once before it is tried again" },
    { "max_bulk", type = types.size({ "1KiB", "2GiB" }, "512MiB"), default = "512MiB", doc = "largest argument of a request, as `proto-max-bulk-len` in Redis" },
    { "stream_above", type = types.size({ "64KiB", "16MiB" }, "1MiB"), default = "1MiB",
      doc = "requests larger than this pass through in pieces; they cannot be sent again after a redirect" },
    { "max_pipeline", type = types.integer(1, 65536), default = 1024, doc = "unanswered requests of one client before no more are read from it" },
    { "client_buffer", type = types.size({ "64KiB", "64GiB" }, "256MiB"), default = "256MiB", doc = "replies a client may leave unread before it is disconnected" },
    { "max_request", type = types.size({ "64KiB", "2GiB" }, "512MiB"), default = "512MiB", doc = "largest request that has to be held whole (an MSET over several slots)" },
    { "node_backlog", type = types.size({ "64KiB", "64GiB" }, "64MiB"), default = "64MiB",
      doc = "unanswered requests, in bytes, one connection to a node may hold before new ones are refused" },
    { "remap", type = shape.map(types.peer(REDIS)), doc = "where nodes announce an address that is reached at another: `[\"10.0.0.1:6379\"] = \"127.0.0.1:7001\"`" },
    { "backlog", type = types.integer(1, 65535), default = 1024, restart = true, doc = "connections the kernel holds until they are accepted" },
  },
}

local timeouts = shape.group {
  editor = "puerta.timeouts",
  options = {
    { "connect", type = types.duration({ "10ms", "10m" }, "1s"), default = "1s", doc = "time to reach a backend" },
    { "idle", type = types.duration({ "30m", "720h" }, "1h"), default = "1h", doc = "a client that sends nothing for so long is disconnected" },
  },
}

local mongodb = shape.group {
  editor = "puerta.mongodb.options",
  options = {
    { "bind", type = types.bind(MONGODB), required = true, restart = true, doc = "where clients connect" },
    { "backends", type = shape.list(shape.constructed { backend = { group = backend, label = backend_label } }, 256, '{ puerta.backend { "mongos-a:27017" } }'),
      required = true, doc = "the mongos processes" },
    { "name", type = types.name(), default = default_name "mongodb", default_doc = '`"mongodb-<port>"`', restart = true, doc = "what logs call this listener" },
    { "forward", type = types.enum { "connection", "request" }, default = "connection",
      doc = "whether a client's connection goes to one backend whole, or each of its requests is placed" },
    { "affinity", type = types.enum { "socket_addr", "fingerprint", "session_id", "hybrid" }, default = "hybrid",
      doc = "what keeps a client on its backend; `session_id` needs `forward = \"request\"`" },
    { "session_timeout", type = types.duration({ "1m", "24h" }, "30m"), default = "30m", doc = "how long a session without requests is remembered" },
    { "timeouts", type = timeouts, default = {}, default_doc = "see below", doc = "time limits" },
    { "backlog", type = types.integer(1, 65535), default = 1024, restart = true, doc = "connections the kernel holds until they are accepted" },
  },
  rule = function(options, at)
    if options.affinity == "session_id" and options.forward == "connection" then
      at:key("affinity"):fail 'expected forward = "request" with "session_id": sessions are seen in requests, not in connections'
    end
  end,
}

local log = shape.group {
  editor = "puerta.log",
  options = {
    { "level", type = types.enum { "debug", "info", "warn", "error" }, default = "info", doc = "the least important lines to show" },
    { "format", type = types.enum { "text", "json" }, default = "text", doc = "lines for people, or a JSON object a line" },
  },
}

local watchdog = shape.group {
  editor = "puerta.watchdog",
  options = {
    { "warn", type = types.duration({ "10ms", "1h" }, "100ms"), default = "100ms", doc = "a policy call that lasts so long is logged" },
    { "abort", type = types.duration({ "100ms", "1h" }, "2s", true), default = "2s", doc = 'one that lasts so long ends the process; `"0s"`: never' },
  },
  rule = function(w, at)
    if w.warn and w.abort and w.abort > 0 and w.abort <= w.warn then at:key("abort"):fail "expected more than warn" end
  end,
}

local wildcard = { ["0.0.0.0"] = true, ["::"] = true }

-- Two listeners cannot share an address or a name.
local function distinct(config, at)
  local names, ports = {}, {}
  for i, l in ipairs(config.listeners or {}) do
    local here = at:key("listeners"):key(i)
    here.line, here.path = l.line, ("listener %s"):format(value.describe(l.name))
    local same = l.name and names[l.name]
    if same then here:fail(("name is used already, on line %d"):format(same.line)) end
    if l.name and not same then names[l.name] = l end
    local others = l.bind and (ports[l.bind.port] or {}) or {}
    for _, other in ipairs(others) do
      if other.bind.host == l.bind.host or wildcard[l.bind.host] or wildcard[other.bind.host] then
        here:fail(("bind %s is used already, on line %d"):format(address.format(l.bind), other.line))
        break
      end
    end
    if l.bind then
      others[#others + 1], ports[l.bind.port] = l, others
    end
  end
end

local listeners = shape.constructed {
  redis = { group = redis, label = listener_label("redis", REDIS) },
  mongodb = { group = mongodb, label = listener_label("mongodb", MONGODB) },
}

local config = shape.group {
  editor = "puerta.config.options",
  not_yet = { admin = true },
  options = {
    { "workers", type = types.integer(0, 256), default = 0, restart = true, doc = "threads that serve clients; 0: one per core" },
    { "log", type = log, default = {}, default_doc = "see below", doc = "the log on stderr" },
    { "drain_timeout", type = types.duration({ "100ms", "24h" }, "30s", true), default = "30s", doc = "how long SIGTERM waits for requests in flight" },
    { "coalesce", type = types.short_duration({ "1us", "10ms" }, "100us", true), default = "100us",
      doc = "how long a worker may sleep, when its batches are small, so that requests of many clients leave together; `\"0us\"`: never" },
    { "watchdog", type = watchdog, default = {}, default_doc = "see below", doc = "what happens when a policy does not come back" },
    { "listeners", type = shape.list(listeners, 256, "{ puerta.redis { ... } }"), required = true, restart = true, -- but what is hot in them
      doc = "what puerta listens for; their number, order and kind need a restart, most of their options do not" },
  },
  rule = distinct,
}

return {
  root = shape.constructed { config = { group = config, label = function() return nil end } },
  -- For the reference and the stubs, in the order of the page.
  groups = {
    { "puerta.config", config, doc = "The whole. A configuration file returns it." },
    { "log", log, doc = "In `puerta.config`." },
    { "watchdog", watchdog, doc = "In `puerta.config`." },
    { "puerta.redis", redis, doc = "A listener for Redis clients before a Redis Cluster. `bind` and `nodes` suffice." },
    { "auth, backend_auth", credentials, doc = "In `puerta.redis`." },
    { "puerta.mongodb", mongodb, doc = "A listener for MongoDB clients before several mongos. Validated, **not built yet**: puerta refuses to start with one." },
    { "timeouts", timeouts, doc = "In `puerta.mongodb`." },
    { "puerta.backend", backend, doc = "An element of `backends` in `puerta.mongodb`." },
  },
}
