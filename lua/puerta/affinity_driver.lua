--- Runs the hooks of one affinity. As puerta.driver, for hooks that are called rarely: once a connection, once a session.

local ffi = require "ffi"
local affinity = require "puerta.affinity"
local api = require "puerta.api"
local failure = require "puerta.failure"

local pcall, type = pcall, type -- safe from a policy
local DEFAULT, FAILED = api.DEFAULT, -3 -- PT_PICK_*
local LARGEST = 2 ^ 53
local u64 = ffi.typeof "uint64_t"

local M = {}

local IDENTIFY_EXPECTED = "a uint64_t, a positive integer or nil"
local PICK_EXPECTED = "the index of a usable backend, or DEFAULT"

-- As a uint64_t, 0 for none; nil: it is no key.
local function key_of(v)
  if v == nil then return 0ULL end
  if ffi.istype(u64, v) then return v end
  if type(v) == "number" and v > 0 and v <= LARGEST and v % 1 == 0 then return u64(v) end
end

--- Makes the entries for a policy's hooks. door holds C memory, as pointers:
--   conn pt_conn_view; session pt_session_view; backends pt_backends_view; key uint64_t; failures uint64_t; error char[256]
-- Returns { identify = f() -> 0 or -1 with the key in door.key, pick = f() -> index, DEFAULT or FAILED }, without those the policy has no hook for.
function M.new(policy, door)
  local conn, session, backends = ffi.cast(affinity.conn, door.conn), ffi.cast(affinity.session, door.session), ffi.cast(affinity.backends, door.backends)
  local view = door.backends
  local note = failure.recorder(door.failures, door.error)
  local identify, pick = policy.identify, policy.pick
  local entries = {}

  if identify then
    function entries.identify()
      local ok, result = pcall(identify, conn)
      local key = ok and key_of(result)
      door.key[0] = key or 0
      if key then return 0 end
      note("identify", identify, ok, result, IDENTIFY_EXPECTED)
      return -1
    end
  end

  if pick then
    function entries.pick()
      local ok, i = pcall(pick, session, backends)
      if ok and i == DEFAULT then return DEFAULT end
      if ok and type(i) == "number" and i >= 0 and i < view.n and i % 1 == 0 and view.at[i].usable == 1 then return i end
      note("pick", pick, ok, i, PICK_EXPECTED)
      return FAILED
    end
  end

  return entries
end

return M
