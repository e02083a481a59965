--- Each tenant has a backend of its own, by the start of its application name (`appName` in its connection string); everybody else is spread as usual. While a
-- tenant's backend cannot be used, it goes where the others go.
--
--    affinity = puerta.policy("tenant_affinity.lua", { tenants = { ["shop-"] = "mongos-a:27017", ["reports-"] = "mongos-b:27017" } })

local puerta = require "puerta"
local pick = require "puerta.pick"

local policy = {}

local tenants = {} -- { prefix =, backend = }, the longest prefix first; the place in this list is the key of all its clients

function policy.init(opts)
  puerta.known_options(opts, { "tenants" })
  if type(opts.tenants) ~= "table" or not next(opts.tenants) then error 'tenants: expected a table like { ["shop-"] = "mongos-a:27017" }' end
  for prefix, backend in pairs(opts.tenants) do
    if type(prefix) ~= "string" or type(backend) ~= "string" then error "tenants: expected prefixes and addresses, both as strings" end
    tenants[#tenants + 1] = { prefix = prefix, backend = backend }
  end
  table.sort(tenants, function(a, b)
    if #a.prefix ~= #b.prefix then return #a.prefix > #b.prefix end
    return a.prefix < b.prefix
  end)
end

function policy.identify(conn)
  local app = conn.app
  for key, tenant in ipairs(tenants) do
    if app:sub(1, #tenant.prefix) == tenant.prefix then return key end
  end
  return conn.fingerprint or conn.address
end

function policy.pick(session, backends)
  local tenant = session.identity and tenants[tonumber(session.identity)]
  for i = 0, tenant and backends.n - 1 or -1 do
    local backend = backends:get(i)
    if backend.usable and backend.name == tenant.backend then return i end
  end
  return pick.rendezvous(session, backends)
end

return policy
