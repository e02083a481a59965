--- Loads a policy: finds the module, checks its hooks, runs init and tries every hook on a sample cluster.
-- Every error is raised as a string with file:line.

local ffi = require "ffi"
local driver = require "puerta.driver"
local sample = require "puerta.sample"
local suggest = require "puerta.suggest"

local M = {}

local built_in = { "slot_owner", "read_replica", "read_near" }
local hooks = { init = true, route = true, redirect = true }
local not_yet = { observe = true, tick = true, identify = true, pick = true }
local BATCH = 64
local WHYS = 5 -- pt_why

local function find_module(name)
  if name:match "%.lua$" then
    local chunk, err = loadfile(name)
    if not chunk then error(err, 0) end
    return chunk()
  end
  for _, known in ipairs(built_in) do
    if name == known then return require("puerta.policy." .. name) end
  end
  error(('unknown policy "%s"%s; a file of your own ends in ".lua"'):format(name, suggest.hint(name, built_in)), 0)
end

local function where(value)
  if type(value) ~= "function" then return "" end
  local info = debug.getinfo(value, "S")
  return ("%s:%d: "):format(info.short_src, info.linedefined)
end

local function check_hooks(policy, name)
  if type(policy) ~= "table" then error(('%s: a policy file returns its table of hooks, got %s'):format(name, type(policy)), 0) end
  for key, value in pairs(policy) do
    key = tostring(key)
    if not_yet[key] then
      error(("%shook %s is not built yet"):format(where(value), key), 0)
    elseif not hooks[key] then
      error(('%sunknown hook "%s"%s'):format(where(value), key, suggest.hint(key, { "init", "route", "redirect" })), 0)
    elseif type(value) ~= "function" then
      error(("%s: hook %s: expected a function, got %s"):format(name, key, type(value)), 0)
    end
  end
  if not policy.route and not policy.redirect then error(name .. ": the policy has no hook: route or redirect", 0) end
end

local function options(text)
  local chunk, err = load("return " .. text, "=options", "t", {})
  if not chunk then error(err, 0) end
  local opts = chunk()
  if type(opts) ~= "table" then error("options: expected a table, got " .. type(opts), 0) end
  return opts
end

-- One pass over the sample; a failure becomes an error.
local function try(entries, door)
  local failures = door.failures[0]
  if entries.many then
    entries.many(BATCH)
    entries.one()
  end
  if entries.redirect then
    for why = 0, WHYS - 1 do
      door.cold[0] = door.batch[why]
      door.cold.node = 0
      entries.redirect(why)
    end
  end
  if door.failures[0] ~= failures then error(ffi.string(door.error), 0) end
end

-- Trace aborts are rare events of the compiler: counting them costs nothing where it matters.
local function count_aborts(aborts)
  jit.attach(function(what)
    if what == "abort" then aborts[0] = aborts[0] + 1 end
  end, "trace")
end

--- Loads the policy `name` (built in, or a file) with options as a Lua expression. The rest is C memory as light userdata: see puerta.driver;
-- aborts is a uint64_t. Returns the driver's one, many and redirect, and a function that warms the compiler up and leaves the view empty:
-- call it once, before the first real request.
function M.load(name, opts, batch, cold, view, failures, err, aborts)
  assert(ffi.sizeof "pt_request" == 64 and ffi.sizeof "pt_view_node" == 144 and ffi.sizeof "pt_view" == 32, "puerta_ffi.h is another build's")
  count_aborts(ffi.cast("uint64_t *", aborts))
  local door = {
    batch = ffi.cast("pt_request *", batch),
    cold = ffi.cast("pt_request *", cold),
    view = ffi.cast("pt_view *", view),
    failures = ffi.cast("uint64_t *", failures),
    error = ffi.cast("char *", err),
  }
  local policy = find_module(name)
  check_hooks(policy, name)
  local given = options(opts)
  if policy.init then
    policy.init(given)
  elseif next(given) ~= nil then
    error("options: this policy takes none: it has no init", 0)
  end
  local entries = driver.new(policy, door)
  local kept = { sample.cluster(door.view), sample.requests(door.batch, BATCH) } -- by warm_up, which C keeps
  try(entries, door)

  local function warm_up()
    for round = 1, 30 do
      try(entries, door) -- the loop first: it is compiled before the function around it
      for i = 1, entries.one and 20 or 0 do
        entries.many(2 + (round + i) % 8)
        entries.one()
      end
    end
    kept[1] = sample.nothing(door.view)
    collectgarbage()
    collectgarbage()
  end

  return entries.one, entries.many, entries.redirect, warm_up
end

return M
