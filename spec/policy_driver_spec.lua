-- What holds whatever a policy does.
local door = require "spec.support.door"

local READ, WRITE, FAILED = door.READ, door.WRITE, door.FAILED

local function source(body) return 'local puerta = require "puerta"\nlocal policy = {}\n' .. body .. "\nreturn policy\n" end

local function open(body, opts) return door.open_source(source(body), opts) end

local function load_error(body, opts)
  local ok, err = pcall(open, body, opts)
  assert.is_false(ok)
  return err
end

-- Sane for the sample, then as the spec wants it: the first byte of the key chooses.
local moody = [[
local answers = {
  a = function() return 1 end, b = function() error("broken by " .. "b") end, c = function() return nil end,
  d = function() return "1" end, e = function() return 1.5 end, f = function() return 6 end, g = function() return -3 end,
  h = function() return 0/0 end, i = function() return 2^40 end, j = function() return true end, k = function() error({}) end,
  l = function() return puerta.RETRY end, m = function() error("line\r\nfeed") end, r = function() return puerta.REJECT end,
  D = function() return puerta.DEFAULT end,
}
local on = false
function policy.init(opts) on = opts.on end
function policy.route(req, cluster)
  local f = answers[(req.key or "a"):sub(1, 1)]
  if f and req.slot == 77 then return f() end
  return 0
end
]]

describe("the driver", function()
  it("stores nodes, DEFAULT and REJECT", function()
    local d = open(moody)
    assert.equal(1, d:route("a", 77))
    assert.equal(-1, d:route("D", 77))
    assert.equal(-2, d:route("r", 77))
    assert.equal(0, d:failed())
  end)

  for key, text in pairs {
    b = "broken by b", c = "returned nil", d = "returned a string", e = "returned 1.5", f = "returned 6", g = "returned %-3",
    h = "returned %-?nan", i = "returned 1099511627776", j = "returned true", k = "raised a table", l = "returned %-11", m = "line  feed",
  } do
    it("counts a call that fails and tells where: " .. text, function()
      local d = open(moody)
      assert.equal(FAILED, d:route(key, 77))
      assert.equal(1, d:failed())
      assert.matches("^%S+%.lua:%d+: ", d:error())
      assert.matches(text, d:error())
      assert.equal(1, d:route("a", 77)) -- and the next one is well
    end)
  end

  it("keeps one bad request from spoiling its batch, compiled or not", function()
    local d = open(moody)
    for round = 1, 300 do
      for i = 0, 63 do
        d:put(i, i == round % 64 and "b" or "a", 77)
      end
      for i, node in ipairs(d:route_many(64)) do
        assert.equal(i - 1 == round % 64 and FAILED or 1, node)
      end
    end
    assert.equal(300, d:failed())
  end)

  it("answers exactly the n it was asked", function()
    local d = open(moody)
    for n = 2, 64 do
      for i = 0, 63 do
        d:put(i, "a", 77)
      end
      d.many(n)
      assert.equal(1, d.batch[n - 1].node)
      if n < 64 then assert.equal(-1, d.batch[n].node) end
    end
  end)

  it("cuts a long error to what C has room for", function()
    local d = open [[function policy.route(req) if req.slot == 77 then error(("x"):rep(5000)) end return 0 end]]
    assert.equal(FAILED, d:route("a", 77))
    assert.equal(255, #d:error())
  end)

  it("gives redirect the reason and the proposed node, and takes an action and a node", function()
    local d = open [[
function policy.redirect(req, why, cluster)
  if why == puerta.MOVED then return puerta.RETRY, req.node + 1 end
  if why == puerta.LOST then return puerta.FAIL end
  return puerta.DEFAULT
end]]
    assert.is_nil(d.one)
    assert.same({ 1, 3 }, { d:redirect(0, 2) })
    assert.same({ 0, 2 }, { d:redirect(1, 2) })
    assert.same({ 2, 2 }, { d:redirect(4, 2) })
    assert.equal(0, d:failed())
  end)

  it("takes the default when redirect fails or answers nonsense", function()
    local d = open [[
function policy.redirect(req, why, cluster)
  if req.slot ~= 77 then return puerta.DEFAULT end
  if why == 0 then error "no" elseif why == 1 then return puerta.RETRY, 6 elseif why == 2 then return 1 elseif why == 3 then return end
  return puerta.RETRY, 0.5
end]]
    for why = 0, 4 do
      assert.same({ 0, 2 }, { d:redirect(why, 2, 77) })
      assert.equal(why + 1, d:failed())
    end
    assert.matches("redirect returned 0.5, expected", d:error())
  end)
end)

describe("loading a policy", function()
  it("hands init its options", function()
    local d = open("local n\nfunction policy.init(o) n = o.n[2] end\nfunction policy.route() return n end", "{n={1,2}}")
    assert.equal(2, d:route("a", 0))
  end)

  it("refuses with file:line", function()
    assert.matches("%.lua:4: boom$", load_error 'function policy.route()\n error "boom" end')
    assert.matches("%.lua:3: route returned nil, expected a node id, DEFAULT or REJECT", load_error "function policy.route() end")
    assert.matches("%.lua:3: zone missing", load_error 'function policy.init() error "zone missing" end\nfunction policy.route() return 0 end')
    assert.matches("%.lua:3: redirect returned 0", load_error "function policy.redirect() return 0 end")
    assert.matches("%.lua:3: '=' expected", load_error "this is no Lua")
    assert.matches("%.lua:3: a request has no field 'slott'", load_error "function policy.route(req) return req.slott end")
    assert.matches("%.lua:3: a request's field 'node' cannot be set", load_error "function policy.route(req) req.node = 1 return 0 end")
    assert.matches("%.lua:3: a cluster has no field 'ownr'", load_error "function policy.route(req, c) return c:ownr(1) end")
  end)

  it("knows its hooks", function()
    assert.matches('%.lua:3: hook tick is not built yet', load_error "function policy.tick() end\nfunction policy.route() return 0 end")
    assert.matches('hook observe is not built yet', load_error "function policy.observe() end\nfunction policy.route() return 0 end")
    assert.matches('%.lua:3: unknown hook "rout" %(did you mean "route"%?%)', load_error "function policy.rout() end")
    assert.matches('unknown hook "zzzzzzzz"$', load_error "policy.zzzzzzzz = 1")
    assert.matches("hook route: expected a function, got number", load_error "policy.route = 1")
    assert.matches("has no hook", load_error "")
    assert.matches("returns its table of hooks, got nil", load_error "do return end")
  end)

  it("evaluates options in an empty environment", function()
    local route = "function policy.init() end\nfunction policy.route() return 0 end"
    assert.matches("options:1: attempt to call global 'error'", load_error(route, "error()"))
    assert.matches("options: expected a table, got number", load_error(route, "1"))
    assert.matches("options:1: ", load_error(route, "{"))
    assert.matches("options: this policy takes none", load_error("function policy.route() return 0 end", "{a=1}"))
  end)

  it("lets init refuse unknown options", function()
    local body = 'function policy.init(opts) puerta.known_options(opts, { "zone" }) end\nfunction policy.route() return 0 end'
    assert.matches('%.lua:3: unknown option "zoen" %(did you mean "zone"%?%)', load_error(body, "{zoen=1}"))
    assert.equal(0, open(body, "{zone=1}"):route("a", 0))
  end)

  it("suggests a built-in policy", function()
    local ok, err = pcall(door.open, "read_replic")
    assert.is_false(ok)
    assert.equal('unknown policy "read_replic" (did you mean "read_replica"?); a file of your own ends in ".lua"', err)
    ok, err = pcall(door.open, "/nonexistent/x.lua")
    assert.is_false(ok)
    assert.matches("cannot open /nonexistent/x.lua", err)
  end)

  it("leaves a view without nodes behind", function()
    local d = open "function policy.route(req, c) return c:owner(req.slot) end"
    d.warm_up()
    assert.equal(0, d.view[0].nnodes)
    assert.equal(-1, d:route("a", 5))
    assert.equal(0, d:failed())
  end)
end)

describe("what a policy sees", function()
  local function ask(expression, key, slot, flags)
    local d = open("local puerta = puerta\nfunction policy.route(req, cluster) if req.slot ~= 77 and req.slot ~= 65535 then return 0 end _G.seen = " .. expression .. " return 0 end")
    _G.seen = nil
    d:node(0).host, d:node(0).port, d:node(0).zone, d:node(0).inflight, d:node(0).latency_us = "fe80::1", 7001, "eu-1", 5, 900
    d.batch[0].client, d.batch[0].client_ip = 0, 0
    assert.equal(0, d:route(key, slot or 77, flags))
    local seen = _G.seen
    _G.seen = nil
    return seen
  end

  it("the request's fields", function()
    assert.equal(77, ask("req.slot", "k"))
    assert.equal("user:\0001", ask("req.key", "user:\0001"))
    assert.equal(3, ask("req.key_len", "abc"))
    assert.is_true(ask("req.readonly", "k", 77, READ))
    assert.is_false(ask("req.readonly", "k", 77, WRITE))
    assert.is_true(ask("req.write", "k", 77, WRITE))
    assert.is_false(ask("req.write", "k", 77, READ))
    assert.equal(2, ask("req.argc", "k"))
    assert.equal(0, ask("req.client + req.client_ip + req.cmd + req.size", "k"))
    assert.is_true(ask("req.key == nil", nil, 0xffff))
  end)

  it("the start of the key", function()
    assert.is_true(ask("req:key_starts_with 'user:'", "user:1"))
    assert.is_true(ask("req:key_starts_with 'user:'", "user:"))
    assert.is_false(ask("req:key_starts_with 'user:'", "user"))
    assert.is_false(ask("req:key_starts_with 'user:'", "uses:1"))
    assert.is_true(ask("req:key_starts_with ''", "k"))
    assert.is_false(ask("req:key_starts_with 'u'", nil, 0xffff))
  end)

  it("the cluster and its nodes", function()
    assert.equal(6, ask("cluster.nnodes", "k"))
    assert.equal(1, ask("cluster.generation", "k"))
    assert.equal(0, ask("cluster:owner(0)", "k"))
    assert.equal(2, ask("cluster:owner(16383)", "k"))
    assert.equal(-1, ask("cluster:owner(16384)", "k"))
    assert.equal(-1, ask("cluster:owner(65535)", "k"))
    assert.equal("[fe80::1]:7001", ask("cluster:node(0).name", "k"))
    assert.equal("10.0.1.1:6379", ask("cluster:node(1).name", "k"))
    assert.equal("fe80::1", ask("cluster:node(0).host", "k"))
    assert.equal(7001, ask("cluster:node(0).port", "k"))
    assert.equal("eu-1", ask("cluster:node(0).zone", "k"))
    assert.equal(905, ask("cluster:node(0).inflight + cluster:node(0).latency_us", "k"))
    assert.is_true(ask("cluster:node(3).replica and cluster:node(3).up and not cluster:node(0).replica", "k"))
    assert.equal(0, ask("cluster:node(3).master", "k"))
    assert.equal(1, ask("cluster:node(0).nreplicas", "k"))
    assert.is_true(ask("cluster:node(6) == nil and cluster:node(-1) == nil", "k"))
    assert.is_true(ask("cluster:up(5) and not cluster:up(6) and not cluster:up(-1)", "k"))
    assert.same({ 3, 1 }, ask("(function() local ids, n = cluster:replicas(0) return { ids[0], n } end)()", "k"))
    assert.equal(0, ask("select(2, cluster:replicas(65535))", "k"))
    assert.equal(-1, ask("cluster:least_loaded(65535)", "k"))
    assert.equal(3, ask("cluster:least_loaded(0)", "k")) -- node 0 has 5 in flight
  end)
end)
