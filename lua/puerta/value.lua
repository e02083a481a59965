--- The opaque values a configuration file handles: what constructors make, secrets, and the stand-in for what could not be had.
-- A file can pass them on and nothing else: their contents are kept here, out of its reach.

local M = {}

local SHOWN = 80 -- bytes of a string in a message

local nodes = setmetatable({}, { __mode = "k" })
local secrets = setmetatable({}, { __mode = "k" })

local function opaque(name, more)
  local meta = { __metatable = false, __tostring = function() return name end }
  function meta.__index(_, key) error(("%s has no field %s"):format(name, tostring(key)), 2) end
  function meta.__newindex() error(name .. " cannot be changed after it was made", 2) end
  for key, f in pairs(more or {}) do
    meta[key] = f
  end
  return meta
end

local node_meta = {}

--- What a constructor returns. n: { kind = "redis", args = {...}, line =, site = (see source.lua) }
function M.node(n)
  node_meta[n.kind] = node_meta[n.kind] or opaque("puerta." .. n.kind)
  local proxy = setmetatable({}, node_meta[n.kind])
  nodes[proxy] = n
  return proxy
end

--- The node behind a value, nil for anything else.
function M.as_node(v) return nodes[v] end

local secret_meta

--- A string that is never shown.
function M.secret(text)
  local proxy = setmetatable({}, secret_meta)
  secrets[proxy] = text
  return proxy
end

--- The text of a secret, nil for anything else. For passwords and nothing else.
function M.reveal(v) return secrets[v] end

secret_meta = opaque("a secret", {
  __tostring = function() error("a secret cannot be shown", 2) end,
  __concat = function(a, b) return M.secret((secrets[a] or a) .. (secrets[b] or b)) end,
})

-- Stands for a value whose error is already known, so that the run goes on and finds the others. Whatever is computed from it is it again.
local function itself() return M.invalid end
M.invalid = setmetatable({}, opaque("an invalid value", {
  __index = itself, __call = itself, __concat = itself, __unm = itself,
  __add = itself, __sub = itself, __mul = itself, __div = itself, __mod = itself, __pow = itself,
}))

--- Text as a Lua string literal, printable.
function M.quote(text)
  return '"' .. text:gsub('[%c"\\]', function(c) return c:find "%c" and ("\\%03d"):format(c:byte()) or "\\" .. c end) .. '"'
end

--- A value as messages show it.
function M.describe(v)
  local node = nodes[v]
  if node then return "puerta." .. node.kind end
  if secrets[v] then return "a secret" end
  local kind = type(v)
  if kind == "string" then return M.quote(#v > SHOWN and v:sub(1, SHOWN - 3) .. "..." or v) end
  if kind == "number" or kind == "boolean" or kind == "nil" then return tostring(v) end
  return "a " .. kind
end

--- An ordinary table: nothing opaque, no part of the environment. A file cannot give metatables to its own.
function M.is_table(v) return type(v) == "table" and getmetatable(v) == nil end

return M
