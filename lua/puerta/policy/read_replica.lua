--- Reads go to the replica with the fewest requests in flight, equals in turn; everything else, and reads while no replica is up, to the master.
-- Replicas lag: a client may read an older value than the one it wrote.
--
--    policy = puerta.policy("read_replica", { prefer = "replica" })   -- "any": the master takes its share of the reads

local puerta = require "puerta"

local policy = {}

local any = false

function policy.init(opts)
  puerta.known_options(opts, { "prefer" })
  local prefer = opts.prefer or "replica"
  if prefer ~= "replica" and prefer ~= "any" then error('prefer: expected "replica" or "any", got ' .. tostring(prefer)) end
  any = prefer == "any"
end

function policy.route(req, cluster)
  if not req.readonly then return cluster:owner(req.slot) end
  if any then return cluster:least_loaded(req.slot) end
  return cluster:least_loaded_replica(req.slot)
end

return policy
