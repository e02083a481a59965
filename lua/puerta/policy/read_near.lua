--- Reads stay in the own zone when the slot has a node there that is up, master or replica; everything else goes to the master.
-- Replicas lag: a client may read an older value than the one it wrote.
--
--    policy = puerta.policy("read_near", { zone = "a" })              -- zones as the cluster tells them (Valkey 8)
--    policy = puerta.policy("read_near", { zone = "a", zones = {      -- or by address: the longest prefix of "host:port" wins
--      ["10.0.1."] = "a", ["10.0.2."] = "b", ["10.0.2.7:6379"] = "a" } })

local ffi = require "ffi"
local puerta = require "puerta"

local policy = {}

local MAX_NODES, MAX_NEAR = 1024, 16

local own_zone
local zones = {}
local generation = -1
-- Of master m: count[m] nodes, at near[m * MAX_NEAR ..]. Used through pointers: those become constants of the trace, arrays do not.
local arrays = { near = ffi.new("int16_t[?]", MAX_NODES * MAX_NEAR), count = ffi.new("int16_t[?]", MAX_NODES) }
local near, near_count = ffi.cast("int16_t *", arrays.near), ffi.cast("int16_t *", arrays.count)

function policy.init(opts)
  puerta.known_options(opts, { "zone", "zones" })
  if type(opts.zone) ~= "string" or opts.zone == "" then error("zone: expected the name of this proxy's zone, got " .. tostring(opts.zone)) end
  own_zone, zones = opts.zone, opts.zones or {}
  if type(zones) ~= "table" then error("zones: expected a table of address prefixes, got " .. type(zones)) end
  for prefix, zone in pairs(zones) do
    if type(prefix) ~= "string" or type(zone) ~= "string" then error 'zones: expected entries like ["10.0.1."] = "a"' end
  end
end

local function zone_of(node)
  local name, best, zone = node.name, -1, node.zone
  for prefix, z in pairs(zones) do
    if #prefix > best and name:sub(1, #prefix) == prefix then
      best, zone = #prefix, z
    end
  end
  return zone
end

-- Once per generation; the hot path only looks up.
local function rebuild(cluster)
  ffi.fill(near_count, ffi.sizeof(arrays.count))
  for id = 0, math.min(cluster.nnodes, MAX_NODES) - 1 do
    local node = cluster:node(id)
    local master = node.master
    if master >= 0 and master < MAX_NODES and near_count[master] < MAX_NEAR and zone_of(node) == own_zone then
      near[master * MAX_NEAR + near_count[master]] = id
      near_count[master] = near_count[master] + 1
    end
  end
  generation = cluster.generation
end

function policy.route(req, cluster)
  local owner = cluster:owner(req.slot)
  if owner < 0 or not req.readonly then return owner end
  if cluster.generation ~= generation then rebuild(cluster) end
  local id = cluster:least_loaded_of(near + owner * MAX_NEAR, near_count[owner])
  if id < 0 then return owner end
  return id
end

return policy
