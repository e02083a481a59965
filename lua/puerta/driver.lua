--- Runs the hooks of one policy over the requests of a batch. C calls the functions made here and passes an integer, nothing else: the requests
-- lie in an array both sides know. pcall sits inside the compiled loop, where it is free, so one failing request never spoils its batch.
-- Nothing here makes garbage while the policy behaves.

local ffi = require "ffi"
local api = require "puerta.api"
local failure = require "puerta.failure"
local request = require "puerta.request"
local cluster_t = require "puerta.cluster"

local pcall, type = pcall, type -- constants of the trace, and safe from a policy
local DEFAULT, REJECT, FAILED = api.DEFAULT, api.REJECT, -3
local ACTIONS = { [api.DEFAULT] = 0, [api.RETRY] = 1, [api.FAIL] = 2 } -- pt_action

local M = {}

local ROUTE_EXPECTED = "a node id, DEFAULT or REJECT"
local REDIRECT_EXPECTED = "DEFAULT, RETRY or FAIL, and perhaps a node id"

--- Makes the entries for a policy's hooks. door holds C memory, as pointers:
--   batch pt_request[64]; cold pt_request (redirect's own); view pt_view; failures uint64_t; error char[256]
-- Returns { one = f(), many = f(n), redirect = f(why) -> action }, without those the policy has no hook for.
function M.new(policy, door)
  local view = door.view
  local cluster = ffi.cast(cluster_t.pointer, view)
  local first, cold = ffi.cast(request.pointer, door.batch), ffi.cast(request.pointer, door.cold)

  local note = failure.recorder(door.failures, door.error)
  local route, redirect = policy.route, policy.redirect
  local entries = {}

  local function failed(req, ok, result)
    req.raw.node = FAILED
    note("route", route, ok, result, ROUTE_EXPECTED)
  end

  -- Stores a sensible answer: in range, and an integer, since it reads back as it was written.
  local function store(req, ok, node)
    if ok and type(node) == "number" and node >= REJECT and node < view.nnodes then
      req.raw.node = node
      if req.raw.node == node then return end
    end
    failed(req, ok, node)
  end

  if route then
    function entries.one() store(first, pcall(route, first, cluster)) end

    function entries.many(n)
      for i = 1, n do
        local req = first + (i - 1) -- never allocated once compiled; 64 pointers kept in a table cost twice the time
        store(req, pcall(route, req, cluster))
      end
    end
  end

  if redirect then
    function entries.redirect(why)
      local ok, action, node = pcall(redirect, cold, why, cluster)
      local answer = ok and ACTIONS[action]
      if answer and (node == nil or node == DEFAULT) then return answer end
      if answer and type(node) == "number" and node >= 0 and node < view.nnodes and node % 1 == 0 then
        door.cold.node = node
        return answer
      end
      note("redirect", redirect, ok, answer and node or action, REDIRECT_EXPECTED)
      return ACTIONS[DEFAULT]
    end
  end

  return entries
end

return M
