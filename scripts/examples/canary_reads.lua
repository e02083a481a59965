--- A share of the reads goes to one node, say a replica on a new version. The choice is by slot, so a key is always read from the same place.
--
--    policy = puerta.policy("canary_reads.lua", { node = "10.0.2.7:6379", percent = 5 })

local puerta = require "puerta"

local policy = {}

local name, share
local generation, canary, canary_master = -1, -1, -1

function policy.init(opts)
  puerta.known_options(opts, { "node", "percent" })
  local percent = opts.percent or 5
  if type(opts.node) ~= "string" then error 'node: expected "host:port"' end
  if type(percent) ~= "number" or percent < 0 or percent > 100 then error "percent: expected a number 0..100" end
  name, share = opts.node, percent / 100 * 1000
end

-- Once per generation.
local function find(cluster)
  generation, canary, canary_master = cluster.generation, -1, -1
  for id = 0, cluster.nnodes - 1 do
    local node = cluster:node(id)
    if node.name == name then canary, canary_master = id, node.master end
  end
end

function policy.route(req, cluster)
  local owner = cluster:owner(req.slot)
  if owner < 0 or not req.readonly then return owner end
  if cluster.generation ~= generation then find(cluster) end
  -- 1009 spreads neighbouring slots; the canary can only serve slots of its own master
  if owner == canary_master and req.slot * 1009 % 1000 < share and cluster:up(canary) then return canary end
  return owner
end

return policy
