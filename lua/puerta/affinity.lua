--- What the hooks of an affinity see: views of the core's structs behind named fields. Valid only inside the hook they were passed to.
--
--    identify(conn)             a client's connection
--      conn.fingerprint         uint64_t of what all connections of one client share (see the reference); nil without a client document
--      conn.address             uint64_t of the source address, up to `prefix`
--      conn.ip                  the source address as text
--      conn.port                its port: differs between connections of one client
--      conn.app                 the application's name, "" when it has none; so are the next
--      conn.driver, conn.driver_version
--      conn.has_client          the hello had a client document
--      conn.load_balanced       it said loadBalanced: true
--
--    pick(session, backends)    what a backend is looked for
--      session.key              uint64_t: of the logical session, else what identify() said, else random
--      session.identity         uint64_t: what identify() said of the connection; nil: nothing
--      session.kind             "connection", "session" (a logical one, lsid) or "request" (one without a session)
--
--      backends.n               how many there are
--      backends.usable          how many of them may be answered
--      backends.generation      changes when they do
--      backends:get(i)          0..n-1; nil when there is none. Its fields:
--        .name                  "host:port"
--        .weight                as configured
--        .effective             weight * 1000, less during a slow start
--        .connections           client connections, or sessions, placed on it
--        .inflight              requests waiting for it
--        .up                    healthy
--        .usable                may be answered: up and not draining
--        .id                    the same as long as the process lives; an index is not
--        .seed                  uint64_t hash of its name, the same in every process
--
-- The cdef of puerta_ffi.h must have been loaded.

local ffi = require "ffi"

-- Structs of our own around the core's, as in puerta.request.
ffi.cdef [[
typedef struct puerta_conn { pt_conn_view raw; } puerta_conn;
typedef struct puerta_session { pt_session_view raw; } puerta_session;
typedef struct puerta_backend { pt_backend_view raw; } puerta_backend;
typedef struct puerta_backends { pt_backends_view raw; } puerta_backends;
]]

local backend_pointer = ffi.typeof "const puerta_backend *"
local kinds = { [0] = "connection", "session", "request" }

-- nil for 0, which means none.
local function some(v)
  if v == 0 then return nil end
  return v
end

local function get(backends, i)
  local raw = backends.raw
  if i < 0 or i >= raw.n or i % 1 ~= 0 then return nil end
  return ffi.cast(backend_pointer, raw.at + i)
end

local function view(name, what, fields)
  ffi.metatype(name, {
    __index = function(v, field)
      local of = fields[field]
      if of then return of(v.raw) end
      error(("%s has no field '%s'"):format(what, tostring(field)), 2)
    end,
    __newindex = function(_, field) error(("%s's field '%s' cannot be set"):format(what, tostring(field)), 2) end,
  })
end

view("puerta_conn", "a connection", {
  fingerprint = function(raw) return some(raw.fingerprint) end,
  address = function(raw) return raw.address end,
  ip = function(raw) return ffi.string(raw.ip_text) end,
  port = function(raw) return raw.port end,
  app = function(raw) return ffi.string(raw.app) end,
  driver = function(raw) return ffi.string(raw.driver) end,
  driver_version = function(raw) return ffi.string(raw.driver_version) end,
  has_client = function(raw) return raw.has_client == 1 end,
  load_balanced = function(raw) return raw.load_balanced == 1 end,
})

view("puerta_session", "a session", {
  key = function(raw) return raw.key end,
  identity = function(raw) return some(raw.identity) end,
  kind = function(raw) return kinds[raw.kind] end,
})

view("puerta_backend", "a backend", {
  name = function(raw) return ffi.string(raw.name) end,
  weight = function(raw) return raw.weight end,
  effective = function(raw) return raw.effective end,
  connections = function(raw) return raw.connections end,
  inflight = function(raw) return raw.inflight end,
  up = function(raw) return raw.up == 1 end,
  usable = function(raw) return raw.usable == 1 end,
  id = function(raw) return raw.id end,
  seed = function(raw) return raw.seed end,
})

view("puerta_backends", "the backends", {
  n = function(raw) return raw.n end,
  usable = function(raw) return raw.usable end,
  generation = function(raw) return tonumber(raw.generation) end,
  get = function() return get end,
})

return {
  conn = ffi.typeof "puerta_conn *",
  session = ffi.typeof "puerta_session *",
  backends = ffi.typeof "puerta_backends *",
}
