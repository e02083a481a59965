--- Each logical session (lsid) goes to one backend, whoever uses it; requests without one go where there is room. Needs forward = "request".
--
--    affinity = puerta.policy("session_id", { pick = "least_connections" })   -- how a new one is placed; "rendezvous" by default, or "round_robin"

local puerta = require "puerta"
local pick = require "puerta.pick"

local policy = { sessions = true }

local choose

function policy.init(opts)
  puerta.known_options(opts, { "pick" })
  choose = pick.by_name(opts.pick)
end

function policy.identify()
  return nil
end

function policy.pick(session, backends)
  return choose(session, backends)
end

return policy
