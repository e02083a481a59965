--- A small cluster and a batch of requests, to try a policy on before it meets real ones: 3 masters (0..2), 3 replicas (3..5), two zones.

local ffi = require "ffi"

jit.off(true, true) -- its traces would only get between the policy's own

local M = {}

local SLOTS = 16384
local NONE = 0x7fff -- PT_NODE_NONE
local GENERATION = 2 ^ 52 -- no real one comes near, so a policy's tables of the sample are never taken for those of a real cluster

local function fill_node(node, id)
  local master = id % 3
  node.host, node.zone = "10.0." .. id % 2 .. "." .. id, id % 2 == 0 and "a" or "b"
  node.port, node.replica, node.up, node.master, node.inflight = 6379, id >= 3 and 1 or 0, 1, master, 0
  if id < 3 then
    node.nreplicas, node.replicas[0] = 1, id + 3
  end
end

--- Fills view; returns what must be kept alive as long as view points to it.
function M.cluster(view)
  local owner, nodes = ffi.new("int16_t[?]", SLOTS), ffi.new("pt_view_node[6]")
  for slot = 0, SLOTS - 1 do
    owner[slot] = math.floor(slot * 3 / SLOTS)
  end
  for id = 0, 5 do
    fill_node(nodes[id], id)
  end
  view.generation, view.nnodes, view.owner, view.nodes = math.max(GENERATION, tonumber(view.generation)) + 1, 6, owner, nodes
  return { owner = owner, nodes = nodes }
end

--- A cluster without a node: what the view holds until the core fills it.
function M.nothing(view)
  local owner, nodes = ffi.new("int16_t[?]", SLOTS), ffi.new("pt_view_node[1]")
  for slot = 0, SLOTS - 1 do
    owner[slot] = NONE
  end
  view.generation, view.nnodes, view.owner, view.nodes = 0, 0, owner, nodes
  return { owner = owner, nodes = nodes }
end

local keys = { "user:1000:name", "{user:1000}.following", "order:7", "tenant-a:cart:17", "x", "cache:/index.html", "counter" }

--- Fills batch[0..n-1]: reads and writes mixed without a pattern, every 13th without a key. Returns what must be kept alive.
function M.requests(batch, n)
  local seed = 7
  for i = 0, n - 1 do
    seed = (seed * 16807) % 2147483647
    local key, read, req = keys[seed % #keys + 1], math.floor(seed / 64) % 2 == 0, batch[i]
    if i % 13 == 12 then
      req.key, req.key_len, req.slot = nil, 0, 0xffff
    else
      req.key, req.key_len, req.slot = ffi.cast("const uint8_t *", key), #key, seed % SLOTS
    end
    req.flags = read and 1 or 2
    req.argc, req.cmd, req.client, req.client_ip, req.frame_len, req.node = 2, 0, i, 0x7f000001, 64, -1
  end
  return keys
end

return M
