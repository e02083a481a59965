--- Loads a policy: finds the module, checks its hooks, runs init and tries every hook on a sample cluster.
-- Every error is raised as a string with file:line.

local ffi = require "ffi"
local driver = require "puerta.driver"
local file = require "puerta.policy_file"
local sample = require "puerta.sample"

local M = {}

local built_in = { "slot_owner", "read_replica", "read_near" }
local hooks = { init = "function", route = "function", redirect = "function" }
local refused = { observe = "is not built yet", tick = "is not built yet" }
for _, hook in ipairs { "identify", "pick", "sessions" } do
  refused[hook] = "belongs to the affinity of a MongoDB listener, this is the policy of a Redis listener"
end
local BATCH = 64
local WHYS = 5 -- pt_why

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
  local policy = file.find(name, built_in, "policy")
  file.check(policy, name, hooks, refused)
  if not policy.route and not policy.redirect then error(name .. ": the policy has no hook: route or redirect", 0) end
  file.init(policy, opts)
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
