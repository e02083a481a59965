--- The door to an affinity as the C core opens it, for specs: the real structs, the real driver, backends and sessions as wanted.
require "spec.support.door" -- declares puerta_ffi.h
local ffi = require "ffi"
local hash = require "puerta.hash"

local M = {}

M.FAILED, M.DEFAULT = -3, -1
M.CONNECTION, M.SESSION, M.REQUEST = 0, 1, 2

local Door = {}
Door.__index = Door

--- Loads an affinity, without backends. Raises what loading raises.
function M.open(name, opts)
  package.loaded["puerta.policy." .. name] = nil -- a policy's state is one instance's
  local d = setmetatable({
    conn = ffi.new "pt_conn_view[1]",
    session = ffi.new "pt_session_view[1]",
    view = ffi.new "pt_backends_view[1]",
    key = ffi.new "uint64_t[1]",
    failures = ffi.new "uint64_t[1]",
    error_text = ffi.new "char[256]",
  }, Door)
  d.call_identify, d.call_pick, d.sessions =
    require("puerta.affinity_load").load(name, opts or "{}", d.conn, d.session, d.view, d.key, d.failures, d.error_text)
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

--- The backends named, all healthy; { "a:1", "b:1" } or { ["a:1"] = weight }. Their index is the place in the sorted names; ids as the core gives them.
local ids, next_id = {}, 0
function Door:backends(names)
  local list = {}
  for name, weight in pairs(names) do
    if type(name) == "number" then name, weight = weight, 1 end
    list[#list + 1] = { name = name, weight = weight }
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  self.at = ffi.new("pt_backend_view[?]", #list)
  for i, one in ipairs(list) do
    if not ids[one.name] then
      ids[one.name], next_id = next_id, next_id + 1
    end
    local b = self.at[i - 1]
    b.name, b.seed, b.id, b.weight, b.effective, b.up, b.usable = one.name, hash.of(one.name), ids[one.name], one.weight, one.weight * 1000, 1, 1
  end
  self.view[0].at, self.view[0].n, self.view[0].usable = self.at, #list, #list
  self.view[0].generation = self.view[0].generation + 1
  return self
end

--- The key of a connection with these fields of pt_conn_view; nil: none.
function Door:identify(fields)
  ffi.fill(self.conn, ffi.sizeof "pt_conn_view")
  self.conn[0].address = 1
  for name, v in pairs(fields or {}) do
    self.conn[0][name] = v
  end
  local e = self.call_identify()
  assert(e == 0 or self.key[0] == 0)
  if e ~= 0 then return M.FAILED end
  if self.key[0] ~= 0 then return self.key[0] end
end

--- The index picked for a key.
function Door:pick(key, kind, identity)
  self.session[0].key, self.session[0].kind = key or 1, kind or M.CONNECTION
  self.session[0].identity = identity or (kind or M.CONNECTION) == M.CONNECTION and key or 0
  return self.call_pick()
end

--- The same as a name; nil for DEFAULT.
function Door:where(...)
  local i = self:pick(...)
  return i >= 0 and ffi.string(self.at[i].name) or nil
end

--- How often each index is picked for n keys, or n times for nobody when anonymous.
function Door:spread(n, anonymous)
  local count = {}
  for k = 1, n do
    local i
    if anonymous then
      i = self:pick(hash.of("k" .. k), M.REQUEST)
    else
      i = self:pick(hash.of("k" .. k))
    end
    count[i] = (count[i] or 0) + 1
  end
  return count
end

function Door:error() return ffi.string(self.error_text) end
function Door:failed() return tonumber(self.failures[0]) end

return M
