--- Connections, sessions and backends to try an affinity on before it meets real ones.

local ffi = require "ffi"
local hash = require "puerta.hash"

local M = {}

local N = 3

--- Three healthy backends. Returns what must be kept alive as long as view points to it.
function M.backends(view)
  local at = ffi.new("pt_backend_view[?]", N)
  for i = 0, N - 1 do
    local backend, name = at[i], ("10.0.0.%d:27017"):format(i + 1)
    backend.name, backend.seed, backend.id = name, hash.of(name), i
    backend.weight, backend.effective, backend.up, backend.usable = 1, 1000, 1, 1
  end
  view.generation, view.n, view.usable, view.at = 1, N, N, at
  return at
end

--- What the view holds until the core fills it.
function M.nothing(view) ffi.fill(view, ffi.sizeof "pt_backends_view") end

local clients = {
  { app = "shop", driver = "PyMongo", driver_version = "4.10.1", ip = "10.0.0.9" },
  { app = "", driver = "nodejs", driver_version = "6.3.0", ip = "fd00::7", load_balanced = true },
  { ip = "10.0.0.9" }, -- has not said who it is
}

--- How many connections there are.
M.conns = #clients

--- Fills conn with connection k, 1..conns.
function M.conn(conn, k)
  local client = clients[k]
  ffi.fill(conn, ffi.sizeof "pt_conn_view")
  conn.address, conn.ip_text, conn.port = hash.of(client.ip), client.ip, 40000 + k
  conn.load_balanced = client.load_balanced and 1 or 0
  if client.driver then
    conn.has_client, conn.fingerprint = 1, hash.of(client.driver .. client.app)
    conn.app, conn.driver, conn.driver_version = client.app, client.driver, client.driver_version
  end
end

--- Fills session: of a kind 0..2, with identity or without (0).
function M.session(session, kind, identity)
  session.kind, session.identity, session.key = kind, identity, identity ~= 0 and kind ~= 1 and identity or hash.of("session" .. kind)
end

return M
