--- What is kept of a hook that raised or answered nonsense: a count and one printable line.

local ffi = require "ffi"

local type, tostring, getinfo = type, tostring, debug.getinfo -- safe from a policy
local SIZE = 256 -- of the text in C: pt_policy.error, pt_affinity.error

local M = {}

local function show(v)
  local kind = type(v)
  return (kind == "number" or kind == "boolean" or v == nil) and tostring(v) or "a " .. kind
end

-- "file:line" of a function, for results that make no sense.
local function place(f)
  local info = getinfo(f, "S")
  return ("%s:%d"):format(info.short_src, info.linedefined)
end

--- What went wrong, as one printable line: err as thrown, or the results of a hook that returned.
function M.describe(hook, f, ok, result, expected)
  if ok then return ("%s: %s returned %s, expected %s"):format(place(f), hook, show(result), expected) end
  if type(result) == "string" or type(result) == "number" then return (tostring(result):gsub("%c", " ")) end
  return ("%s: %s raised %s"):format(place(f), hook, show(result))
end

--- A function of the same arguments that counts the failure and keeps its text. failures: uint64_t *, text: char[256]
function M.recorder(failures, text)
  return function(...)
    failures[0] = failures[0] + 1
    ffi.copy(text, M.describe(...):sub(1, SIZE - 1)) -- with its NUL
  end
end

return M
