--- The request a policy sees: a pt_request of the batch behind named fields. Valid only inside the hook it was passed to.
--
--    req.slot          0..16383; 65535 without keys
--    req.readonly      the command reads only
--    req.write         the command may write
--    req.key_len       bytes of the first key
--    req.size          bytes of the request, 0 while it is streamed
--    req.argc          arguments, the command's name included
--    req.cmd           index of the command in Redis' command table
--    req.client        index of the client in its worker
--    req.client_ip     its IPv4 address as a number; 0: IPv6 or unix
--    req.node          in redirect(): the node the core proposes; a cold field
--    req:key_starts_with "user:"
--    req.key           the first key as a string, nil without one; COLD: makes a string for every key
--
-- The cdef of puerta_ffi.h must have been loaded.

local ffi = require "ffi"
local bit = require "bit"

-- A struct of our own around the core's: its fields are not assignable by accident, and names may differ from C's.
ffi.cdef [[
int memcmp(const void *, const void *, size_t);
typedef struct puerta_request { pt_request raw; } puerta_request;
]]

local C = ffi.C
local band = bit.band
local READONLY, WRITE = 1, 2 -- PT_CMD_READONLY, PT_CMD_WRITE; asserted in policy_lua.c

local function key_starts_with(req, prefix)
  local raw, n = req.raw, #prefix
  return raw.key_len >= n and C.memcmp(raw.key, prefix, n) == 0
end

local cold = {}

function cold.key(raw)
  if raw.key == nil then return nil end
  return ffi.string(raw.key, raw.key_len)
end
function cold.key_len(raw) return raw.key_len end
function cold.size(raw) return raw.frame_len end
function cold.argc(raw) return raw.argc end
function cold.cmd(raw) return raw.cmd end
function cold.node(raw) return raw.node end

-- The name is constant wherever it is compiled, so the comparisons cost nothing there; a table would cost two loads.
ffi.metatype("puerta_request", {
  __index = function(req, name)
    local raw = req.raw
    if name == "slot" then
      return raw.slot
    elseif name == "readonly" then
      return band(raw.flags, READONLY) ~= 0
    elseif name == "write" then
      return band(raw.flags, WRITE) ~= 0
    elseif name == "key_starts_with" then
      return key_starts_with
    elseif name == "client" then
      return raw.client
    elseif name == "client_ip" then
      return raw.client_ip
    end
    local get = cold[name]
    if get then return get(raw) end
    error("a request has no field '" .. tostring(name) .. "'", 2)
  end,
  __newindex = function(_, name) error("a request's field '" .. tostring(name) .. "' cannot be set", 2) end,
})

return { pointer = ffi.typeof "puerta_request *" }
