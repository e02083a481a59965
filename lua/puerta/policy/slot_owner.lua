--- The default policy: every request to the master that owns its slot.

local policy = {}

function policy.route(req, cluster)
  return cluster:owner(req.slot)
end

return policy
