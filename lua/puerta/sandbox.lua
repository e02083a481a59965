--- Runs a configuration file: nothing but constructors, the environment helpers and pure functions within reach, a bounded number of instructions
-- and bytes, errors collected with their lines.

local env = require "puerta.env"
local source = require "puerta.source"
local suggest = require "puerta.suggest"
local value = require "puerta.value"

local M = {}

local CHUNK = "config" -- stands for the file in messages of the compiler and of error(), which would cut a long path
local STEP, STEPS = 10000, 5000 -- 50 million instructions
local MEMORY = 256 * 1024 -- KiB

local function copy(from, names)
  local to = {}
  for name in names:gmatch "%S+" do
    to[name] = from[name]
  end
  return to
end

local function keys(t)
  local list = {}
  for name in pairs(t) do
    list[#list + 1] = name
  end
  table.sort(list)
  return list
end

-- A table that is read only and answers for every name it does not have.
local function closed(t, what)
  return setmetatable({}, {
    __metatable = false,
    __index = function(_, name)
      local v = t[name]
      if v ~= nil then return v end
      error(("%s has no %s%s"):format(what, value.describe(name), suggest.hint(tostring(name), keys(t))), 2)
    end,
    __newindex = function() error(what .. " cannot be changed", 2) end,
  })
end

-- The line that is being run in the file, nil after a tail call out of it.
local function current_line()
  local level = 3
  while true do
    local info = debug.getinfo(level, "Sl")
    if not info then return nil end
    if info.source == "=" .. CHUNK then return info.currentline end
    level = level + 1
  end
end

local function constructors(run)
  local function constructor(kind)
    return function(...)
      local line = current_line()
      local site = run.find(kind, line)
      return value.node { kind = kind, args = { n = select("#", ...), ... }, line = site and site.line or line or run.last_line, site = site }
    end
  end
  local t = { env = closed(env.new(run), "env") }
  for _, kind in ipairs { "config", "redis", "mongodb", "backend", "policy" } do
    t[kind] = constructor(kind)
  end
  return closed(t, "puerta")
end

local function globals(run)
  local puerta = constructors(run)
  local g = copy(_G, "assert error ipairs next pairs select tonumber tostring type unpack")
  g.string = copy(string, "byte char find format gmatch gsub len lower match rep reverse sub upper")
  g.table = copy(table, "concat insert maxn remove sort")
  g.math = copy(math, "abs ceil floor fmod huge max min modf pi pow sqrt")
  function g.require(name)
    if name == "puerta" then return puerta end
    error(('a configuration can only require "puerta", not %s'):format(value.describe(name)), 2)
  end
  return setmetatable({}, {
    __metatable = false,
    __index = function(_, name)
      local v = g[name]
      if v ~= nil then return v end
      error(("%s is not defined in a configuration%s"):format(tostring(name), suggest.hint(tostring(name), keys(g))), 2)
    end,
    __newindex = function(_, name) error(("%s: declare it local"):format(tostring(name)), 2) end,
  })
end

-- Raises after too much work. Nothing in the file can catch that: it has no pcall.
local function limited(f)
  collectgarbage()
  local steps, most = 0, collectgarbage "count" + MEMORY
  local function stop(message) error(("%s:%d: %s"):format(CHUNK, current_line() or 0, message), 0) end
  local function on_count()
    steps = steps + 1
    if steps >= STEPS then stop(("no end after %d million instructions: an endless loop?"):format(STEP * STEPS / 1e6)) end
    if collectgarbage "count" > most then stop(("more than %d MiB of memory used"):format(MEMORY / 1024)) end
  end
  jit.off(f, true) -- compiled loops call no hooks
  debug.sethook(on_count, "", STEP)
  local ok, result = pcall(f)
  debug.sethook()
  return ok, result
end

-- A message of the compiler or of error(): its line, and the text without it.
local function split(message)
  if type(message) ~= "string" then return nil, "an error was raised: " .. value.describe(message) end
  local line, text = message:match("^" .. CHUNK .. ":(%d+): (.*)$")
  return tonumber(line), text or message
end

--- Runs text. options: fail(line, message) collects errors; getenv and read_file as env.lua wants them.
-- Returns what the file returned and the line of its return; nil after an error.
function M.run(text, options)
  if text:find "^\27" then return options.fail(nil, "expected Lua source, got bytecode") end
  local chunk, message = load(text, "=" .. CHUNK, "t")
  if not chunk then return options.fail(split(message)) end
  local sites, last_line = source.calls(text)
  local run = { find = source.finder(sites), last_line = last_line, getenv = options.getenv, read_file = options.read_file }
  function run.fail(text_) options.fail(current_line(), text_) end
  setfenv(chunk, globals(run))
  local ok, result = limited(chunk)
  if not ok then return options.fail(split(result)) end
  return result, last_line
end

return M
