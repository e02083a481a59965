--- What a policy gets from `require "puerta"`: the answers of its hooks, the reasons of redirect(), a check of its options, a hash of strings, and state
-- that lives in C memory.
-- Plain values, usable in any Lua state; the objects a hook receives are in puerta.request and puerta.cluster, those of an affinity in puerta.affinity.

local hash = require "puerta.hash"
local map = require "puerta.map"
local suggest = require "puerta.suggest"

--- For init(): raises when opts has a name that is not among names.
local function known_options(opts, names)
  local known = {}
  for _, name in ipairs(names) do
    known[name] = true
  end
  for name in pairs(opts) do
    if not known[name] then error(('unknown option "%s"%s'):format(tostring(name), suggest.hint(tostring(name), names)), 2) end
  end
end

return {
  -- Answers of route() beside a node id.
  DEFAULT = -1, -- the owner of the slot; also an action of redirect(), and of pick(): rendezvous
  REJECT = -2, -- "ERR rejected by policy" for the client
  -- Answers of redirect(). They are no node ids, so that a mix-up is noticed.
  RETRY = -11,
  FAIL = -12,
  -- Why redirect() is called.
  MOVED = 0,
  ASK = 1,
  TRYAGAIN = 2,
  CLUSTERDOWN = 3,
  LOST = 4,

  known_options = known_options,
  hash = hash.of, -- a string's, as a uint64_t: for the key that identify() answers
  map = map.new,
}
