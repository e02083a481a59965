--- Every option of the configuration: type, default, what a reload can do with it, and what it is for. Validation, defaults, conf/REFERENCE.md and the
-- editor's stubs come from here, schema_redis.lua, schema_mongodb.lua and schema_tls.lua, and from nowhere else. See shape.lua for the form.

local address = require "puerta.address"
local listener = require "puerta.schema_listener"
local mongodb = require "puerta.schema_mongodb"
local redis = require "puerta.schema_redis"
local shape = require "puerta.shape"
local tls = require "puerta.schema_tls"
local types = require "puerta.types"
local value = require "puerta.value"

local access = shape.group {
  editor = "puerta.access",
  options = {
    { "connections", type = types.boolean(), default = true, doc = "a line for each connection that has ended: from where, how long, requests, bytes, why" },
    { "requests", type = types.boolean(), default = true,
      doc = "a line for a share of the requests to nodes and mongos: command, slot or namespace, whom it went to, microseconds, outcome; never keys or values" },
    { "sample", type = types.share(0.000001), default = 0.01, doc = "that share: 1 is every request, 0.01 each 100th of a worker" },
    { "to", type = types.log_target(), default_doc = "where the log goes", doc = "as `log.to`" },
  },
}

local log = shape.group {
  editor = "puerta.log",
  options = {
    { "level", type = types.enum { "debug", "info", "warn", "error" }, default = "info", doc = "the least important lines to show" },
    { "format", type = types.enum { "text", "json" }, default = "text", doc = "lines for people, or a JSON object a line" },
    { "to", type = types.log_target(), default = "stderr",
      doc = '`"stderr"`, `"syslog"`, `"journald"` (both with `:/path` for another socket than the usual), or a file, relative to the configuration; SIGUSR1 opens it again' },
    { "access", type = access, doc = "what clients do, a line each; off when absent" },
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

local upgrade = shape.group {
  editor = "puerta.upgrade",
  options = {
    { "socket", type = types.path(), default_doc = "in the run directory",
      doc = "where a new process (`puerta FILE --upgrade`) finds this one; in a directory that only its user may write to" },
  },
}

-- Whoever reaches the server may end puerta: beyond this machine only those who know the token.
local function guarded(admin, at)
  local host = admin.bind and admin.bind.host
  admin.line = at.line
  if admin.token and admin.token:find "[^%w%p]" then at:key("token"):fail "expected letters, digits and punctuation: it stands in a header" end
  if host and not admin.token and not (host:find "^127%." or host == "::1") then
    at:key("bind"):fail "expected option token with an address that is not loopback"
  end
end

local admin = shape.group {
  editor = "puerta.admin",
  options = {
    { "bind", type = types.admin_bind(9901), restart = true, default_doc = "`unix:` admin.sock in the run directory",
      doc = "`/run/puerta`, `$XDG_RUNTIME_DIR/puerta` or `/tmp/puerta-UID` is the run directory; an address that is not loopback needs `token`" },
    { "token", type = types.secret(256), doc = "asked for as `Authorization: Bearer ...`, but for `/healthz` and `/readyz`" },
    { "slow", type = types.short_duration({ "100us", "1h" }, "100ms", true), default = "100ms",
      doc = 'requests that take so long are remembered for `/slowlog`, their keys are not; `"0s"`: none' },
  },
  rule = guarded,
}

local memory = shape.group {
  editor = "puerta.memory",
  options = {
    { "max", type = types.size({ "16MiB", "1024GiB" }, "1GiB"),
      doc = "bytes of all buffers: unfinished requests, requests that wait, replies that are not read. At 80 % new clients are refused, and those that hold "
        .. "much are not read; at 95 %, or after a second, those that hold most are closed. The process itself needs some 30 MiB more, and the kernel its sockets" },
  },
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

local listeners = shape.constructed { redis = redis.listener, mongodb = mongodb.listener }

local config = shape.group {
  editor = "puerta.config.options",
  options = {
    { "workers", type = types.integer(0, 256), default = 0, restart = true, doc = "threads that serve clients; 0: one per core" },
    { "daemon", type = types.boolean(), default = false, restart = true, doc = "serve in the background, as with `-d`" },
    { "pid_file", type = types.path(), restart = true, doc = "where the process id is written, as with `-p`" },
    { "user", type = types.name(), restart = true,
      doc = "whom puerta becomes once its listeners are bound, when it was started by root; that user has to be able to read what a reload reads" },
    { "group", type = types.name(), default_doc = "the user's own", restart = true, doc = "the group puerta belongs to then" },
    { "log", type = log, default = {}, default_doc = "see below", doc = "the log" },
    { "upgrade", type = upgrade, default = {}, restart = true, default_doc = "see below", doc = "how another process takes over from this one" },
    { "drain_timeout", type = types.duration({ "100ms", "24h" }, "30s", true), default = "30s", doc = "how long SIGTERM waits for requests in flight" },
    { "coalesce", type = types.short_duration({ "1us", "10ms" }, "100us", true), default = "100us",
      doc = "how long a worker may sleep, when its batches are small, so that requests of many clients leave together; `\"0us\"`: never" },
    { "watchdog", type = watchdog, default = {}, default_doc = "see below", doc = "what happens when a policy does not come back" },
    { "max_connections", type = types.integer(0, 10000000), default = 0, doc = "clients at once, of all listeners; 0: as many as files may be open" },
    { "accept_rate", type = types.integer(0, 1000000), default = 0,
      doc = "new clients a second, of all listeners; 0: no limit. More of them wait in the kernel's queue" },
    { "admin", type = admin, restart = true, -- but what is hot in it
      doc = "an HTTP server for operators: metrics, status, reload; `{}` is enough. See below" },
    { "memory", type = memory, default = {}, default_doc = "see below", doc = "the ceiling for what clients can make puerta hold" },
    { "listeners", type = shape.list(listeners, 256, "{ puerta.redis { ... } }"), required = true, restart = true, -- but what is hot in them
      doc = "what puerta listens for; their number, order and kind need a restart, most of their options do not" },
  },
  rule = function(config, at)
    if config.group and not config.user then at:key("group"):fail "expected user with group" end
    distinct(config, at)
  end,
}

-- For the reference and the stubs, in the order of the page.
local groups = {
  { "puerta.config", config, doc = "The whole. A configuration file returns it." },
  { "upgrade", upgrade, doc = "In `puerta.config`." },
  { "log", log, doc = "In `puerta.config`." },
  { "access", access, doc = "In `log`." },
  { "admin", admin, doc = "In `puerta.config`. `puerta ctl` asks this server; `/help` lists its paths." },
  { "watchdog", watchdog, doc = "In `puerta.config`." },
  { "memory", memory, doc = "In `puerta.config`." },
}
for _, kind in ipairs { redis, mongodb, listener, tls } do
  for _, group in ipairs(kind.groups) do
    groups[#groups + 1] = group
  end
end

return { root = shape.constructed { config = { group = config, label = function() return nil end } }, groups = groups }
