--- All connections from one address, up to `prefix`, go to one backend.
--
--    affinity = puerta.policy("socket_addr", { pick = "least_connections" })   -- how a new one is placed; "rendezvous" by default, or "round_robin"

local puerta = require "puerta"
local pick = require "puerta.pick"

local policy = {}

local choose

function policy.init(opts)
  puerta.known_options(opts, { "pick" })
  choose = pick.by_name(opts.pick)
end

function policy.identify(conn)
  if conn.load_balanced then return nil end -- its driver wants each connection by itself
  return conn.address
end

function policy.pick(session, backends)
  return choose(session, backends)
end

return policy
