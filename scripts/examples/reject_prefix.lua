--- Keys under a prefix are off limits: requests for them are answered "ERR rejected by policy". Only the first key of a request is looked at.
--
--    policy = puerta.policy("reject_prefix.lua", { prefix = "internal:" })                    -- nobody may touch them
--    policy = puerta.policy("reject_prefix.lua", { prefix = "archive:", only = "write" })     -- a read-only keyspace

local puerta = require "puerta"

local policy = {}

local prefix, writes_only

function policy.init(opts)
  puerta.known_options(opts, { "prefix", "only" })
  if type(opts.prefix) ~= "string" or opts.prefix == "" then error "prefix: expected a string" end
  if opts.only ~= nil and opts.only ~= "write" then error('only: expected "write" or nothing, got ' .. tostring(opts.only)) end
  prefix, writes_only = opts.prefix, opts.only == "write"
end

function policy.route(req, cluster)
  if (req.write or not writes_only) and req:key_starts_with(prefix) then return puerta.REJECT end
  return cluster:owner(req.slot)
end

return policy
