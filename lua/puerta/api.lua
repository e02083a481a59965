--- What a policy gets from `require "puerta"`: the answers of its hooks, the reasons of redirect(), and state that lives in C memory.
-- Plain values, usable in any Lua state; the objects a hook receives are in puerta.request and puerta.cluster.

local map = require "puerta.map"

return {
  -- Answers of route() beside a node id.
  DEFAULT = -1, -- the owner of the slot; also an action of redirect()
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

  map = map.new,
}
