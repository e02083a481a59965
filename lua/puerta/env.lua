--- puerta.env: what a configuration may take from its environment. A missing variable without default, or one that does not fit, is collected as an
-- error, and the run goes on. An empty variable counts as missing.
--
--    env.int(name [, default])      env.string(name [, default])      env.bool(name [, default])
--    env.list(name [, default])     a list of strings, separated by commas in the variable
--    env.secret(name [, default])   a string that is never shown
--    env.file(path [, default])     the same, read from a file (relative to the configuration); a newline at its end is dropped

local value = require "puerta.value"

local M = {}

local LARGEST_INT = 2 ^ 53
local bools = { ["true"] = true, yes = true, on = true, ["1"] = true, ["false"] = false, no = false, off = false, ["0"] = false }

local parsers = {
  int = function(text)
    local n = text:find "^[+-]?%d+$" and tonumber(text)
    return n and math.abs(n) <= LARGEST_INT and n or nil
  end,
  string = function(text) return text end,
  bool = function(text) return bools[text:lower()] end,
  list = function(text)
    local list = {}
    for element in text:gmatch "[^,]+" do
      list[#list + 1] = element:match "^%s*(.-)%s*$"
    end
    return list
  end,
  secret = value.secret,
}
local expected = { int = "an integer", string = "a string", bool = "true or false", list = "a list", secret = "a string" }
local default_type = { int = "number", string = "string", bool = "boolean", list = "table", secret = "string" }

--- The helpers. run: fail(text), getenv(name), read_file(path) -> text or nil, why
function M.new(run)
  local function fail(text)
    run.fail(text)
    return value.invalid
  end

  local function fallback(helper, what, default, missing)
    if default == nil then return fail(missing) end
    if default == value.invalid then return default end
    if value.reveal(default) and default_type[helper] == "string" then return default end
    if type(default) ~= default_type[helper] then
      return fail(("env.%s(%s): expected %s as default, got %s"):format(helper, value.describe(what), expected[helper], value.describe(default)))
    end
    return helper == "secret" and value.secret(default) or default
  end

  local function variable(helper)
    return function(name, default)
      if type(name) ~= "string" then return fail(("env.%s: expected the name of a variable, got %s"):format(helper, value.describe(name))) end
      local text = run.getenv(name)
      if not text or text == "" then return fallback(helper, name, default, ("environment variable %s is not set"):format(name)) end
      local v = parsers[helper](text)
      if v == nil then return fail(("environment variable %s: expected %s, got %s"):format(name, expected[helper], value.quote(text))) end
      return v
    end
  end

  local env = {}
  for helper in pairs(parsers) do
    env[helper] = variable(helper)
  end
  function env.file(path, default)
    if type(path) ~= "string" then return fail("env.file: expected a path, got " .. value.describe(path)) end
    local text, why = run.read_file(path)
    if not text then return fallback("secret", path, default, "env.file: " .. why) end
    return value.secret((text:gsub("\r?\n$", "")))
  end
  return env
end

return M
