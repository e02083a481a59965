--- What loading a policy of any kind needs: the module found, its hooks checked, its options read. Every error is raised as a string with file:line
-- where there is one.

local suggest = require "puerta.suggest"

local M = {}

--- The module `name`: a file that ends in ".lua", or one of built_in. what: "policy".
function M.find(name, built_in, what)
  if name:match "%.lua$" then
    local chunk, err = loadfile(name)
    if not chunk then error(err, 0) end
    return chunk()
  end
  for _, known in ipairs(built_in) do
    if name == known then return require("puerta.policy." .. name) end
  end
  error(('unknown %s "%s"%s; a file of your own ends in ".lua"'):format(what, name, suggest.hint(name, built_in)), 0)
end

local function where(value)
  if type(value) ~= "function" then return "" end
  local info = debug.getinfo(value, "S")
  return ("%s:%d: "):format(info.short_src, info.linedefined)
end

local function keys(t)
  local list = {}
  for key in pairs(t) do
    list[#list + 1] = key
  end
  table.sort(list)
  return list
end

--- known: hook or field -> its type; refused: hook -> why it is not taken, by which it is refused politely.
function M.check(policy, name, known, refused)
  if type(policy) ~= "table" then error(('%s: a policy file returns its table of hooks, got %s'):format(name, type(policy)), 0) end
  for key, value in pairs(policy) do
    key = tostring(key)
    if refused[key] then
      error(("%shook %s %s"):format(where(value), key, refused[key]), 0)
    elseif not known[key] then
      error(('%sunknown hook "%s"%s'):format(where(value), key, suggest.hint(key, keys(known))), 0)
    elseif type(value) ~= known[key] then
      error(("%s: %s %s: expected a %s, got %s"):format(name, known[key] == "function" and "hook" or "field", key, known[key], type(value)), 0)
    end
  end
end

local function options(text)
  local chunk, err = load("return " .. text, "=options", "t", {})
  if not chunk then error(err, 0) end
  local opts = chunk()
  if type(opts) ~= "table" then error("options: expected a table, got " .. type(opts), 0) end
  return opts
end

--- Calls init with the options in text, a Lua expression.
function M.init(policy, text)
  local given = options(text)
  if policy.init then
    policy.init(given)
  elseif next(given) ~= nil then
    error("options: this policy takes none: it has no init", 0)
  end
end

return M
