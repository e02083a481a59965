--- The default affinity: a client is known by its fingerprint, or by its address while it has not said who it is. With forward = "request" each logical
-- session goes its own way, and only what has none follows the client.
--
--    affinity = puerta.policy("hybrid", { pick = "least_connections" })   -- how a new one is placed; "rendezvous" by default, or "round_robin"

local puerta = require "puerta"
local pick = require "puerta.pick"

local policy = { sessions = true }

local choose

function policy.init(opts)
  puerta.known_options(opts, { "pick" })
  choose = pick.by_name(opts.pick)
end

function policy.identify(conn)
  if conn.load_balanced then return nil end -- its driver wants each connection by itself
  return conn.fingerprint or conn.address
end

function policy.pick(session, backends)
  return choose(session, backends)
end

return policy
