--- Plain data as a Lua expression, the same text for the same data.

local value = require "puerta.value"

local M = {}

local DEEPEST, LONGEST = 16, 65536

local function rank(key) return type(key) == "number" and 1 or type(key) == "string" and 2 or 3 end

local function before(a, b)
  if rank(a) ~= rank(b) then return rank(a) < rank(b) end
  if type(a) == "boolean" then return a and not b end
  return a < b
end

local write

local function write_table(out, t, at, depth)
  if #out > LONGEST then return end -- said once, at the end
  if depth > DEEPEST then return at:fail(("tables deeper than %d levels"):format(DEEPEST)) end
  local keys = {}
  for key in pairs(t) do
    keys[#keys + 1] = key
  end
  for _, key in ipairs(keys) do
    if rank(key) == 3 and type(key) ~= "boolean" then return at:fail("a key cannot be " .. value.describe(key)) end
  end
  table.sort(keys, before)
  out[#out + 1] = "{"
  for i, key in ipairs(keys) do
    if i > 1 then out[#out + 1] = "," end
    if key ~= i then
      out[#out + 1] = "["
      write(out, key, at, depth)
      out[#out + 1] = "]="
    end
    write(out, t[key], at:key(key), depth)
  end
  out[#out + 1] = "}"
end

function write(out, v, at, depth)
  local kind = type(v)
  if kind == "string" then
    out[#out + 1] = value.quote(v)
  elseif kind == "boolean" or kind == "number" and v - v == 0 then
    out[#out + 1] = kind == "number" and ("%.17g"):format(v) or tostring(v)
  elseif value.is_table(v) then
    write_table(out, v, at, depth + 1)
  elseif v ~= value.invalid then
    at:fail("expected a string, number, boolean or table, got " .. value.describe(v))
  end
end

--- Table t as an expression; at: its place, for errors. nil when there was one.
function M.expression(t, at)
  local out, failed = {}, false
  local function fail(...)
    failed = true
    at.context.fail(...)
  end
  local watched = setmetatable({ context = { fail = fail } }, { __index = at })
  write(out, t, watched, 0)
  local text = table.concat(out)
  if #text > LONGEST then watched:fail(("more than %d bytes of options"):format(LONGEST)) end
  return not failed and text or nil
end

return M
