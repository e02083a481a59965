--- Ways to choose a backend, for the hook pick(session, backends) of an affinity: functions that answer an index, or DEFAULT when no backend is usable.
--
--    local pick = require "puerta.pick"
--    pick.rendezvous(session, backends)          the same for the same key in every process; a backend that comes or goes moves its own share only
--    pick.least_connections(session, backends)   the fewest connections and waiting requests for its weight; equals by rendezvous
--    local turn = pick.round_robin()             makes one that takes backends in turn, by weight: turn(session, backends)
--    pick.by_name("rendezvous")                  one of these three, as the built-in affinities use them: see the function

local bit = require "bit"
local hash = require "puerta.hash"

local M = {}

local DEFAULT = -1

-- Weighted rendezvous hashing: each backend draws from its seed and the key, weights bend the draw, the highest wins. -w / ln(u) with u even in
-- (0, 1) makes the chances exactly as the weights are (less during a slow start). core/mongo/place.c computes the same.
local function draw(key, backend)
  local h = hash.mix(bit.bxor(key, backend.seed))
  return backend.effective / -math.log((tonumber(bit.rshift(h, 11)) + 0.5) / 2 ^ 53)
end

function M.rendezvous(session, backends)
  local key = session.key
  local best, most = DEFAULT, nil
  for i = 0, backends.n - 1 do
    local backend = backends:get(i)
    if backend.usable then
      local score = draw(key, backend)
      if not most or score > most then
        best, most = i, score
      end
    end
  end
  return best
end

function M.least_connections(session, backends)
  local key = session.key
  local best, least, most = DEFAULT, nil, nil
  for i = 0, backends.n - 1 do
    local backend = backends:get(i)
    if backend.usable then
      local load = (backend.connections + backend.inflight) / math.max(backend.effective, 1)
      if not least or load < least or load == least and draw(key, backend) > most then
        best, least, most = i, load, draw(key, backend)
      end
    end
  end
  return best
end

-- Smooth weighted round robin: everybody gains its weight, the richest is taken and pays what all gained. No bursts: weights 2 and 1 give a b a.
function M.round_robin()
  local credit = {} -- by id; ids are few as long as a process lives
  return function(_, backends)
    local best, most, total = DEFAULT, nil, 0
    for i = 0, backends.n - 1 do
      local backend = backends:get(i)
      if backend.usable then
        local id, gain = backend.id, backend.effective
        local has = (credit[id] or 0) + gain
        credit[id], total = has, total + gain
        if not most or has > most then
          best, most = i, has
        end
      end
    end
    if most then
      local id = backends:get(best).id
      credit[id] = most - total
    end
    return best
  end
end

-- A key that is random has nothing to keep: such connections and requests are spread more evenly in turn.
local function rendezvous_or_turn()
  local turn = M.round_robin()
  return function(session, backends)
    if session.identity or session.kind == "session" then return M.rendezvous(session, backends) end
    return turn(session, backends)
  end
end

local makers = {
  rendezvous = rendezvous_or_turn,
  round_robin = M.round_robin,
  least_connections = function() return M.least_connections end,
}

--- For an option of that name in init(): "rendezvous" (also nil), which takes what nobody is known of in turn, "round_robin", "least_connections".
function M.by_name(name)
  local maker = makers[name or "rendezvous"]
  if not maker then error(('pick: expected "rendezvous", "round_robin" or "least_connections", got %s'):format(tostring(name)), 2) end
  return maker()
end

return M
