-- Affinities: what holds whatever one does, what it sees, and whom the built-in ones know.
local affinity = require "spec.support.affinity"
local hash = require "puerta.hash"

local FAILED, DEFAULT = affinity.FAILED, affinity.DEFAULT
local three = { "a:1", "b:1", "c:1" }

local function source(body) return 'local puerta = require "puerta"\nlocal policy = {}\n' .. body .. "\nreturn policy\n" end
local function open(body, opts) return affinity.open_source(source(body), opts):backends(three) end

local function load_error(body, opts)
  local ok, err = pcall(open, body, opts)
  assert.is_false(ok)
  return err
end

describe("the key of a connection", function()
  -- Sane for the samples, then what the application's name says.
  local moody = [[
local answers = {
  one = function() return 1 end, large = function() return 2^53 end, u64 = function() return 0xfedcba9876543210ULL end,
  none = function() end, zero_u64 = function() return 0ULL end, text = function() return puerta.hash "x" end,
  zero = function() return 0 end, negative = function() return -1 end, half = function() return 1.5 end, huge = function() return 2^54 end,
  nan = function() return 0/0 end, string = function() return "1" end, signed = function() return 1LL end, boolean = function() return true end,
  raise = function() error "no" end,
}
function policy.identify(conn)
  local f = answers[conn.app]
  return f and f()
end]]

  it("is an integer, a uint64_t or nil", function()
    local d = open(moody)
    assert.equal(1ULL, d:identify { app = "one" })
    assert.equal(2ULL ^ 53, d:identify { app = "large" })
    assert.equal(0xfedcba9876543210ULL, d:identify { app = "u64" })
    assert.equal(hash.of "x", d:identify { app = "text" })
    assert.is_nil(d:identify { app = "none" })
    assert.is_nil(d:identify { app = "zero_u64" })
    assert.equal(0, d:failed())
  end)

  for app, said in pairs {
    zero = "returned 0", negative = "returned %-1", half = "returned 1.5", huge = "returned 1.8", nan = "returned %-?nan", string = "returned a string",
    signed = "returned a cdata", boolean = "returned true", raise = "%.lua:8: no",
  } do
    it("is nothing else: " .. app, function()
      local d = open(moody)
      assert.equal(1ULL, d:identify { app = "one" })
      assert.equal(FAILED, d:identify { app = app }) -- and the key of before is gone
      assert.equal(1, d:failed())
      assert.matches("^%S+%.lua:%d+: ", d:error())
      assert.matches(said, d:error())
      assert.equal(1ULL, d:identify { app = "one" })
    end)
  end
end)

describe("the answer of pick", function()
  local moody = [[
local answers = {
  function() return 2 end, function() return puerta.DEFAULT end,
  function() return 1 end, function() return 3 end, function() return -2 end, function() return 0.5 end, function() return 0/0 end,
  function() return "0" end, function() end, function() error({}) end, function() return 2^40 end, function() return 0ULL end,
}
function policy.pick(session, backends)
  local f = session.key < 100ULL and answers[tonumber(session.key)]
  return f and f() or 0
end]]

  it("is an index or DEFAULT", function()
    local d = open(moody)
    assert.equal(0, d:pick(100))
    assert.equal(2, d:pick(1))
    assert.equal(DEFAULT, d:pick(2))
    assert.equal(0, d:failed())
  end)

  it("is a backend that can be used", function()
    local d = open(moody)
    assert.equal(1, d:pick(3))
    d.at[1].usable = 0
    assert.equal(FAILED, d:pick(3))
    assert.matches("%.lua:8: pick returned 1, expected the index of a usable backend, or DEFAULT", d:error())
  end)

  for key, said in pairs {
    [4] = "returned 3", [5] = "returned %-2", [6] = "returned 0.5", [7] = "returned %-?nan", [8] = "returned a string", [10] = "raised a table",
    [11] = "returned 1099511627776", [12] = "returned a cdata",
  } do
    it("is nothing else: " .. said, function()
      local d = open(moody)
      assert.equal(FAILED, d:pick(key))
      assert.equal(1, d:failed())
      assert.matches(said, d:error())
      assert.equal(2, d:pick(1))
    end)
  end
end)

describe("loading an affinity", function()
  it("hands init its options, and tells whether it places sessions", function()
    local d = open("local n\nfunction policy.init(o) n = o.n end\nfunction policy.pick() return n end", "{n=2}")
    assert.equal(2, d:pick())
    assert.is_false(d.sessions)
    assert.is_nil(d.call_identify)
    assert.is_true(open("policy.sessions = true\nfunction policy.identify() return 1 end").sessions)
  end)

  it("refuses with file:line", function()
    assert.matches("%.lua:4: boom$", load_error 'function policy.identify()\n error "boom" end')
    assert.matches("%.lua:3: identify returned 0, expected a uint64_t, a positive integer or nil", load_error "function policy.identify() return 0 end")
    assert.matches("%.lua:3: pick returned nil, expected the index of a usable backend, or DEFAULT", load_error "function policy.pick() end")
    assert.matches("%.lua:3: pick returned 3, expected", load_error "function policy.pick(s, backends) return backends.n end")
    assert.matches("%.lua:3: hash: expected a string, got nil", load_error "function policy.identify() local key = puerta.hash(nil) return key end")
    assert.matches("%.lua:3: a connection has no field 'ap'", load_error "function policy.identify(conn) return puerta.hash(conn.ap) end")
    assert.matches("%.lua:3: a connection's field 'app' cannot be set", load_error "function policy.identify(conn) conn.app = 'x' end")
    assert.matches("%.lua:3: a session has no field 'id'", load_error "function policy.pick(session) return session.id end")
    assert.matches("%.lua:3: the backends has no field 'count'", load_error "function policy.pick(_, backends) return backends.count end")
    assert.matches("%.lua:3: a backend has no field 'wait'", load_error "function policy.pick(_, backends) return backends:get(0).wait end")
    assert.matches("%.lua:3: attempt to write to constant location", load_error "function policy.pick(_, b) b:get(0).weight = 1 return 0 end")
  end)

  it("tries what seldom happens", function()
    assert.matches("attempt to perform arithmetic", load_error "function policy.identify(conn) return conn.fingerprint + 1ULL end")
    assert.matches("never", load_error 'function policy.pick(session) if session.kind == "request" then error "never" end return 0 end')
  end)

  it("knows its hooks", function()
    assert.matches("%.lua:3: hook route belongs to the policy of a Redis listener", load_error "function policy.route() return 0 end")
    assert.matches("%.lua:3: hook tick is not built yet", load_error "function policy.tick() end\nfunction policy.pick() return 0 end")
    assert.matches('unknown hook "pik" %(did you mean "pick"%?%)', load_error "function policy.pik() return 0 end")
    assert.matches("field sessions: expected a boolean, got number", load_error "policy.sessions = 1 function policy.pick() return 0 end")
    assert.matches("hook pick: expected a function, got number", load_error "policy.pick = 1")
    assert.matches("has no hook: identify or pick", load_error "policy.sessions = true")
    assert.matches("options: this policy takes none", load_error("function policy.pick() return 0 end", "{x=1}"))
    local ok, err = pcall(affinity.open, "hybird")
    assert.is_false(ok)
    assert.equal('unknown affinity "hybird" (did you mean "hybrid"?); a file of your own ends in ".lua"', err)
    ok, err = pcall(affinity.open, "fingerprint", "{prefix=1}")
    assert.is_false(ok)
    assert.matches('policy/fingerprint.lua:%d+: unknown option "prefix"', err)
    ok, err = pcall(require("spec.support.door").open_source, source "function policy.pick() return 0 end")
    assert.is_false(ok)
    assert.matches("%.lua:3: hook pick belongs to the affinity of a MongoDB listener", err)
  end)

  it("leaves nothing of its samples behind", function()
    local d = affinity.open "hybrid"
    assert.equal(0, d.view[0].n + d.view[0].usable)
    assert.equal(0ULL, d.key[0] + d.conn[0].address + d.session[0].key)
    assert.equal(DEFAULT, d:pick(5))
    assert.equal(0, d:failed())
  end)
end)

describe("what an affinity sees", function()
  local function ask(expression, fields)
    local d = open("local seen\nfunction policy.identify(conn) _G.seen = " .. expression .. " end")
    _G.seen = nil
    assert.is_nil(d:identify(fields))
    local seen = _G.seen
    _G.seen = nil
    return seen
  end

  it("the connection's fields", function()
    assert.equal("shop", ask("conn.app", { app = "shop" }))
    assert.equal("", ask("conn.app", {}))
    assert.equal("nodejs 6.1", ask("conn.driver .. ' ' .. conn.driver_version", { driver = "nodejs", driver_version = "6.1" }))
    assert.equal("fd00::1", ask("conn.ip", { ip_text = "fd00::1" }))
    assert.equal(5, ask("conn.port", { port = 5 }))
    assert.equal(7ULL, ask("conn.fingerprint", { fingerprint = 7 }))
    assert.is_nil(ask("conn.fingerprint", {}))
    assert.equal(9ULL, ask("conn.address", { address = 9 }))
    assert.is_true(ask("conn.has_client and not conn.load_balanced", { has_client = 1 }))
    assert.is_true(ask("conn.load_balanced and not conn.has_client", { load_balanced = 1 }))
  end)

  it("the session's and the backends'", function()
    local d = open [[
function policy.pick(session, backends)
  _G.seen = { session.kind, session.key, session.identity, backends.n, backends.usable, backends.generation, {}, backends:get(3) == nil, backends:get(-1) == nil,
    backends:get(0.5) == nil }
  local b = backends:get(1)
  if b.name == "b:1" then _G.seen[7] = { b.name, b.weight, b.effective, b.connections, b.inflight, b.up, b.usable, b.seed } end
  return 0
end]]
    d.at[1].weight, d.at[1].effective, d.at[1].connections, d.at[1].inflight, d.at[1].usable = 2, 1500, 3, 4, 0
    d:pick(8, affinity.SESSION, 9)
    assert.same({ "session", 8ULL, 9ULL, 3, 3, 1, { "b:1", 2, 1500, 3, 4, true, false, hash.of "b:1" }, true, true, true }, _G.seen)
    d:pick(8, affinity.REQUEST, 0)
    assert.equal("request", _G.seen[1])
    assert.is_nil(_G.seen[3])
    d:pick(8, affinity.CONNECTION, 0)
    assert.equal("connection", _G.seen[1])
    _G.seen = nil
  end)
end)

describe("puerta.hash", function()
  local puerta = require "puerta"

  it("is the same everywhere, and never 0", function()
    assert.equal(17665956581633026203ULL, puerta.hash "")
    assert.equal(996580060897260808ULL, puerta.hash "abc")
  end)

  it("tells strings apart", function()
    local seen, n = {}, 0
    for i = 1, 20000 do
      local key = tostring(puerta.hash("tenant-" .. i))
      if not seen[key] then
        seen[key], n = true, n + 1
      end
    end
    assert.equal(20000, n)
  end)
end)

describe("the built-in affinities", function()
  local client = { fingerprint = 11, address = 22, has_client = 1 }
  local silent = { address = 22 }
  local balanced = { fingerprint = 11, address = 22, has_client = 1, load_balanced = 1 }
  for name, expected in pairs {
    hybrid = { 11ULL, 22ULL, true }, fingerprint = { 11ULL, 22ULL, false }, socket_addr = { 22ULL, 22ULL, false }, session_id = { nil, nil, true },
  } do
    it("know a client: " .. name, function()
      local d = affinity.open(name):backends(three)
      assert.same({ expected[1], expected[2], nil }, { d:identify(client), (d:identify(silent)), (d:identify(balanced)) })
      assert.equal(expected[3], d.sessions)
    end)

    it("place by rendezvous, and what nobody is known of in turn: " .. name, function()
      local d, other = affinity.open(name):backends(three), affinity.open("socket_addr"):backends(three)
      for k = 1, 200 do
        assert.equal(other:pick(hash.of("x" .. k)), d:pick(hash.of("x" .. k)))
        assert.equal(other:pick(hash.of("x" .. k)), d:pick(hash.of("x" .. k), affinity.SESSION))
      end
      assert.same({ [0] = 100, 100, 100 }, d:spread(300, true))
      assert.equal(0, d:failed())
    end)

    it("take the other ways to pick: " .. name, function()
      for _, pick in ipairs { "round_robin", "least_connections" } do
        local d = affinity.open(name, ("{pick=%q}"):format(pick)):backends(three)
        d.at[0].connections, d.at[1].connections = 1, 1
        assert.equal(pick == "round_robin" and 0 or 2, d:pick(5))
      end
    end)
  end
end)
