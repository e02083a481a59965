--- Loads an affinity: finds the module, checks its hooks, runs init and tries every hook on samples. As puerta.policy_load.
-- Every error is raised as a string with file:line.

local ffi = require "ffi"
local driver = require "puerta.affinity_driver"
local file = require "puerta.policy_file"
local sample = require "puerta.affinity_sample"

local M = {}

local built_in = require("puerta.policy_option").affinity.built_in
local known = { init = "function", identify = "function", pick = "function", sessions = "boolean" }
local refused = { observe = "is not built yet", tick = "is not built yet" }
for _, hook in ipairs { "route", "redirect" } do
  refused[hook] = "belongs to the policy of a Redis listener, this is the affinity of a MongoDB listener"
end
local KINDS = 3

-- Every hook over every sample; a failure becomes an error.
local function try(entries, door)
  for k = 1, sample.conns do
    sample.conn(door.conn, k)
    if entries.identify then entries.identify() end
    for kind = 0, KINDS - 1 do
      sample.session(door.session, kind, door.key[0])
      if entries.pick then entries.pick() end
      if door.failures[0] ~= 0 then error(ffi.string(door.error), 0) end
    end
  end
end

--- Loads the affinity `name` (built in, or a file) with options as a Lua expression. The rest is C memory as light userdata: see puerta.affinity_driver.
-- Returns the driver's identify and pick, nil where there is no hook, and whether logical sessions are placed by it. Leaves the views empty.
function M.load(name, opts, conn, session, backends, key, failures, err)
  assert(ffi.sizeof "pt_conn_view" == 360 and ffi.sizeof "pt_session_view" == 24, "puerta_ffi.h is another build's")
  assert(ffi.sizeof "pt_backend_view" == 96 and ffi.sizeof "pt_backends_view" == 24, "puerta_ffi.h is another build's")
  local door = {
    conn = ffi.cast("pt_conn_view *", conn),
    session = ffi.cast("pt_session_view *", session),
    backends = ffi.cast("pt_backends_view *", backends),
    key = ffi.cast("uint64_t *", key),
    failures = ffi.cast("uint64_t *", failures),
    error = ffi.cast("char *", err),
  }
  local policy = file.find(name, built_in, "affinity")
  file.check(policy, name, known, refused)
  if not policy.identify and not policy.pick then error(name .. ": the affinity has no hook: identify or pick", 0) end
  file.init(policy, opts)
  local entries = driver.new(policy, door)
  door.kept = sample.backends(door.backends) -- alive as long as the view points to it
  try(entries, door)
  sample.nothing(door.backends)
  door.kept = nil
  ffi.fill(door.conn, ffi.sizeof "pt_conn_view")
  ffi.fill(door.session, ffi.sizeof "pt_session_view")
  door.key[0] = 0
  return entries.identify, entries.pick, policy.sessions == true
end

return M
