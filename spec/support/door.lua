--- A door as the C core opens it, for specs: the real structs, the real driver, a sample cluster.
local ffi = require "ffi"

local header = assert(io.open "src/script/puerta_ffi.h")
ffi.cdef(header:read "*a") -- busted sees to it that the same text is declared once
header:close()

local M = {}

M.READ, M.WRITE = 1, 2
M.FAILED = -3

-- Trace aborts are counted as long as the Lua state lives, which all doors share, and the spec files' modules do not: one counter for good.
local registry = debug.getregistry()
registry.aborts = registry.aborts or ffi.new "uint64_t[1]"

local Door = {}
Door.__index = Door

--- Loads a policy and puts it before the sample cluster (masters 0..2, replicas 3..5 of the same order; even ids in zone a, odd in b).
--- Raises what loading raises.
function M.open(name, opts)
  package.loaded["puerta.policy." .. name] = nil -- a policy's state is one instance's
  local d = setmetatable({
    batch = ffi.new "pt_request[64]",
    cold = ffi.new "pt_request[1]",
    view = ffi.new "pt_view[1]",
    failures = ffi.new "uint64_t[1]",
    error_text = ffi.new "char[256]",
    aborts = registry.aborts,
    keys = {},
  }, Door)
  local warm_up
  d.one, d.many, d.call_redirect, warm_up =
    require("puerta.policy_load").load(name, opts or "{}", d.batch, d.cold, d.view, d.failures, d.error_text, d.aborts)
  if warm_up then warm_up() end
  d.warm_up = warm_up
  d.sample = require("puerta.sample").cluster(d.view[0])
  d.view[0].generation = 1
  return d
end

--- Loads source text as a policy file.
function M.open_source(source, opts)
  local path = os.tmpname() .. ".lua"
  local f = assert(io.open(path, "w"))
  f:write(source)
  f:close()
  local ok, result = pcall(M.open, path, opts)
  os.remove(path)
  if not ok then error(result, 0) end
  return result
end

--- Request i of the batch: key (nil: none), slot, flags.
function Door:put(i, key, slot, flags)
  local r = self.batch[i]
  ffi.fill(r, ffi.sizeof "pt_request")
  self.keys[i] = key
  if key then r.key, r.key_len = ffi.cast("const uint8_t *", key), #key end
  r.slot, r.flags, r.node, r.argc = slot or 0xffff, flags or M.READ, -1, 2
end

--- Routes one request alone.
function Door:route(key, slot, flags)
  self:put(0, key, slot, flags)
  self.one()
  return self.batch[0].node
end

--- Routes the n requests put before; returns their nodes.
function Door:route_many(n)
  self.many(n)
  local nodes = {}
  for i = 0, n - 1 do
    nodes[i + 1] = self.batch[i].node
  end
  return nodes
end

--- Returns the action (0 DEFAULT, 1 RETRY, 2 FAIL) and the node.
function Door:redirect(why, node, slot)
  self:put(0, "k", slot or 0, M.READ)
  self.cold[0] = self.batch[0]
  self.cold[0].node = node
  local action = self.call_redirect(why)
  return action, self.cold[0].node
end

function Door:error() return ffi.string(self.error_text) end
function Door:failed() return tonumber(self.failures[0]) end
function Door:node(id) return self.sample.nodes[id] end

--- How often each node is the answer to n reads of a slot.
function Door:spread(n, slot)
  local count = {}
  for _ = 1, n do
    local id = self:route("k", slot)
    count[id] = (count[id] or 0) + 1
  end
  return count
end

return M
