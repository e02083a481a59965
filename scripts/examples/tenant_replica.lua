--- One tenant's reads are served by the replicas, so that its reports do not slow the others down.
--
--    policy = puerta.policy("tenant_replica.lua", { prefix = "tenant-a:" })

local puerta = require "puerta"

local policy = {}

local prefix

function policy.init(opts)
  puerta.known_options(opts, { "prefix" })
  if type(opts.prefix) ~= "string" or opts.prefix == "" then error "prefix: expected a string" end
  prefix = opts.prefix
end

function policy.route(req, cluster)
  if req.readonly and req:key_starts_with(prefix) then return cluster:least_loaded_replica(req.slot) end
  return cluster:owner(req.slot)
end

return policy
