--- The cluster a policy sees: a pt_view behind methods. Node ids are 0..nnodes-1 and stable for one generation.
--
--    cluster:owner(slot)                  id of the slot's master; DEFAULT when there is none or no slot
--    cluster:least_loaded(slot)           the master or replica with the fewest requests in flight; reads only
--    cluster:least_loaded_replica(slot)   the same among the replicas; the master when none is up
--    cluster:least_loaded_of(ids, n)      the same among ids[0..n-1], a C array, n <= 16; DEFAULT when none is up
--    cluster:replicas(slot)               ids, n: a C array of ids and its length
--    cluster:up(id)                       healthy and not failing fast
--    cluster:node(id)                     its fields: host port zone name replica up master nreplicas inflight latency_us
--                                         (host, zone and name make strings: COLD); nil when there is none
--    cluster.nnodes, cluster.generation   a new generation: ids may name other nodes
--
-- Equals are taken in turn. The cdef of puerta_ffi.h must have been loaded.

local ffi = require "ffi"
local bit = require "bit"

-- Structs of our own around the core's, as in puerta.request.
ffi.cdef [[
typedef struct puerta_node { pt_view_node raw; } puerta_node;
typedef struct puerta_cluster { pt_view raw; } puerta_cluster;
]]

local band, bor, lshift, rshift, min = bit.band, bit.bor, bit.lshift, bit.rshift, math.min
local DEFAULT, SLOTS = -1, 16384
local MAX_REPLICAS = 16
local i64 = ffi.typeof "int64_t"
local node_ptr = ffi.typeof "puerta_node *"
local no_ids = ffi.new "int16_t[1]"

local function owner(cluster, slot)
  if slot < SLOTS then
    local raw = cluster.raw
    local id = raw.owner[slot]
    if id < raw.nnodes then return id end
  end
  return DEFAULT
end

-- The choice of the least loaded is a minimum over integers made of, from the high end: down (1 bit), requests in flight (16, saturated),
-- place in the turn (4), node id (10). No branch: each branch on data would split the trace.
local DOWN = 2 ^ 30

local function score(nodes, id, place)
  local node = nodes[id]
  return bor(lshift(1 - node.up, 30), lshift(min(band(node.inflight, 0x7fffffff), 0xffff), 14), lshift(band(place, 15), 10), id)
end

-- Over ids[k..k+3], as far as there are n. Unrolled: a loop inside the batch's loop would not compile into it.
local function best4(nodes, ids, k, n, first)
  local best = score(nodes, ids[k], k - first)
  if n > k + 1 then best = min(best, score(nodes, ids[k + 1], k + 1 - first)) end
  if n > k + 2 then best = min(best, score(nodes, ids[k + 2], k + 2 - first)) end
  if n > k + 3 then best = min(best, score(nodes, ids[k + 3], k + 3 - first)) end
  return best
end

local turn = 0

-- Who of n comes first among equals: steps of the golden ratio spread evenly over any n.
local function next_first(n)
  turn = band(turn + 40503, 0xffff)
  return rshift(turn * n, 16)
end

local function best_of(nodes, ids, n, first)
  local best = best4(nodes, ids, 0, n, first)
  if n > 4 then best = min(best, best4(nodes, ids, 4, n, first)) end
  if n > 8 then best = min(best, best4(nodes, ids, 8, n, first)) end
  if n > 12 then best = min(best, best4(nodes, ids, 12, n, first)) end
  return best
end

local function least_loaded_of(cluster, ids, n)
  if n < 1 then return DEFAULT end
  local best = best_of(cluster.raw.nodes, ids, n, next_first(n))
  if best >= DOWN then return DEFAULT end
  return band(best, 1023)
end

local function least_loaded_replica(cluster, slot)
  local master = owner(cluster, slot)
  if master < 0 then return master end
  local nodes = cluster.raw.nodes
  local node = nodes[master]
  local n = node.nreplicas
  if n == 0 then return master end
  local best = best_of(nodes, node.replicas, n, next_first(n))
  if best >= DOWN then return master end
  return band(best, 1023)
end

local function least_loaded(cluster, slot)
  local master = owner(cluster, slot)
  if master < 0 then return master end
  local nodes = cluster.raw.nodes
  local node = nodes[master]
  local n = node.nreplicas
  if n == 0 then return master end
  local first = next_first(n + 1) -- the master stands behind its replicas
  local own = score(nodes, master, n - first)
  local best = min(own, best_of(nodes, node.replicas, n, first))
  if best >= DOWN then return master end
  return band(best, 1023)
end

local function replicas(cluster, slot)
  local master = owner(cluster, slot)
  if master < 0 then return no_ids, 0 end
  local node = cluster.raw.nodes[master]
  return node.replicas, min(node.nreplicas, MAX_REPLICAS)
end

local function up(cluster, id)
  return id >= 0 and id < cluster.raw.nnodes and cluster.raw.nodes[id].up == 1
end

local function node_of(cluster, id)
  if id >= 0 and id < cluster.raw.nnodes then return ffi.cast(node_ptr, cluster.raw.nodes + id) end
end

-- As in puerta.request: constant names cost nothing once compiled.
ffi.metatype("puerta_cluster", {
  __index = function(cluster, name)
    if name == "owner" then
      return owner
    elseif name == "least_loaded" then
      return least_loaded
    elseif name == "least_loaded_replica" then
      return least_loaded_replica
    elseif name == "least_loaded_of" then
      return least_loaded_of
    elseif name == "replicas" then
      return replicas
    elseif name == "up" then
      return up
    elseif name == "node" then
      return node_of
    elseif name == "nnodes" then
      return cluster.raw.nnodes
    elseif name == "generation" then
      return tonumber(ffi.cast(i64, cluster.raw.generation)) -- signed: one instruction
    end
    error("a cluster has no field '" .. tostring(name) .. "'", 2)
  end,
  __newindex = function(_, name) error("a cluster's field '" .. tostring(name) .. "' cannot be set", 2) end,
})

local cold = {}
function cold.host(raw) return ffi.string(raw.host) end
function cold.zone(raw) return ffi.string(raw.zone) end
function cold.name(raw)
  local host = ffi.string(raw.host)
  return (host:find(":", 1, true) and "[%s]:%d" or "%s:%d"):format(host, raw.port)
end
function cold.port(raw) return raw.port end
function cold.master(raw) return raw.master end
function cold.nreplicas(raw) return raw.nreplicas end

ffi.metatype("puerta_node", {
  __index = function(node, name)
    local raw = node.raw
    if name == "up" then
      return raw.up == 1
    elseif name == "inflight" then
      return raw.inflight
    elseif name == "latency_us" then
      return raw.latency_us
    elseif name == "replica" then
      return raw.replica == 1
    end
    local get = cold[name]
    if get then return get(raw) end
    error("a node has no field '" .. tostring(name) .. "'", 2)
  end,
  __newindex = function(_, name) error("a node's field '" .. tostring(name) .. "' cannot be set", 2) end,
})

return { pointer = ffi.typeof "puerta_cluster *" }
