--- The options of puerta.redis. See schema.lua.

local listener = require "puerta.schema_listener"
local policy = require "puerta.policy_option"
local shape = require "puerta.shape"
local types = require "puerta.types"

local PORT = 6379 -- the usual one

-- Bound by what the core can hold: 32 bits of length, room for a password in the greeting of a link.
local PASSWORD, USER = 512, 128

local credentials = shape.group {
  editor = "puerta.credentials",
  options = {
    { "user", type = types.text(USER), default = "default", doc = "the user" },
    { "password", type = types.secret(PASSWORD), required = true, doc = "the password" },
  },
}

local redis = shape.group {
  editor = "puerta.redis.options",
  options = listener.with_common {
    listener.bind(PORT),
    { "nodes", type = shape.list(types.peer(PORT), 256, '{ "redis1:6379" }'), required = true,
      doc = "seeds: some nodes of the cluster, by name or address; the rest is discovered" },
    listener.name "redis",
    { "auth", type = listener.users(credentials, "password"), doc = "who may connect: clients must AUTH or HELLO as one of these; without it everybody may. `user` is `\"default\"` when absent" },
    { "backend_auth", type = credentials, doc = "how puerta authenticates to the nodes; read when a connection is opened" },
    { "policy", type = policy.route, default = "slot_owner",
      doc = "who answers a request: `slot_owner`, `read_replica`, `read_near`, `c` (the slot owner without Lua), or the path of a `.lua` file "
        .. "(relative to the configuration)" },
    { "slot_refresh", type = types.duration({ "100ms", "24h" }, "60s"), default = "60s",
      doc = "how often the topology is asked for without an occasion; redirects and lost connections are occasions" },
    { "max_redirects", type = types.integer(0, 15), default = 5, doc = "MOVED, ASK, TRYAGAIN... one request may meet before its client gets an error" },
    { "connections", type = types.integer(1, 16), default = 1, restart = true, doc = "connections from each worker to each node" },
    { "connect_timeout", type = types.duration({ "10ms", "10m" }, "1s"), default = "1s", doc = "time to reach a node and to authenticate there" },
    { "request_timeout", type = types.duration({ "10ms", "1h" }, "5s"), default = "5s",
      doc = "a connection to a node without progress for so long is cut, and a request that waits for a redirect gives up" },
    { "idle_timeout", type = types.duration({ "1s", "720h" }, "5m", true), default = "0s",
      doc = 'a client that does nothing for so long is disconnected, as `timeout` in Redis; `"0s"`: never' },
    { "handshake_timeout", type = types.duration({ "100ms", "1h" }, "10s", true), default = "10s",
      doc = 'with `auth`: a client that has not authenticated within it is disconnected; `"0s"`: never' },
    { "stall_timeout", type = types.duration({ "1s", "24h" }, "60s", true), default = "60s",
      doc = 'a client in the middle of a request, or with replies to read, that moves less than 16 KiB within it is disconnected; `"0s"`: never' },
    { "retry_interval", type = types.duration({ "10ms", "1h" }, "1s"), default = "1s", doc = "how long requests for a failed node fail at once before it is tried again" },
    { "max_bulk", type = types.size({ "1KiB", "2GiB" }, "512MiB"), default = "512MiB", doc = "largest argument of a request, as `proto-max-bulk-len` in Redis" },
    { "stream_above", type = types.size({ "64KiB", "16MiB" }, "1MiB"), default = "1MiB",
      doc = "requests larger than this pass through in pieces; they cannot be sent again after a redirect" },
    { "max_pipeline", type = types.integer(1, 65536), default = 1024, doc = "unanswered requests of one client before no more are read from it" },
    { "client_buffer", type = types.size({ "64KiB", "64GiB" }, "256MiB"), default = "256MiB", doc = "replies a client may leave unread before it is disconnected" },
    { "max_request", type = types.size({ "64KiB", "2GiB" }, "512MiB"), default = "512MiB", doc = "largest request that has to be held whole (an MSET over several slots)" },
    { "node_backlog", type = types.size({ "64KiB", "64GiB" }, "64MiB"), default = "64MiB",
      doc = "unanswered requests, in bytes, one connection to a node may hold before new ones are refused" },
    { "remap", type = shape.map(types.peer(PORT)), doc = "where nodes announce an address that is reached at another: `[\"10.0.0.1:6379\"] = \"127.0.0.1:7001\"`" },
  },
}

return {
  listener = { group = redis, label = listener.label("redis", PORT) },
  groups = {
    { "puerta.redis", redis, doc = "A listener for Redis clients before a Redis Cluster. `bind` and `nodes` suffice." },
    { "auth, backend_auth", credentials, doc = "In `puerta.redis`." },
  },
}
