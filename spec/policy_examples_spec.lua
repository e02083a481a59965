-- The policies in scripts/examples.
local door = require "spec.support.door"

local READ, WRITE = door.READ, door.WRITE

local function refuses(file, opts, text)
  local ok, err = pcall(door.open, file, opts)
  assert.is_false(ok)
  assert.matches(text, err)
end

describe("tenant_replica.lua", function()
  local file = "scripts/examples/tenant_replica.lua"

  it("moves one tenant's reads to the replica", function()
    local d = door.open(file, '{prefix="tenant-a:"}')
    assert.equal(3, d:route("tenant-a:1", 0, READ))
    assert.equal(0, d:route("tenant-a:1", 0, WRITE))
    assert.equal(0, d:route("tenant-b:1", 0, READ))
    assert.equal(-1, d:route(nil, 0xffff, READ))
  end)

  it("wants a prefix", function() refuses(file, "{}", "tenant_replica.lua:%d+: prefix") end)
end)

describe("reject_prefix.lua", function()
  local file = "scripts/examples/reject_prefix.lua"

  it("rejects by prefix", function()
    local d = door.open(file, '{prefix="internal:"}')
    assert.equal(-2, d:route("internal:x", 0, READ))
    assert.equal(-2, d:route("internal:x", 0, WRITE))
    assert.equal(0, d:route("internalx", 0, READ))
  end)

  it("or only the writes", function()
    local d = door.open(file, '{prefix="archive:", only="write"}')
    assert.equal(0, d:route("archive:x", 0, READ))
    assert.equal(-2, d:route("archive:x", 0, WRITE))
    assert.equal(0, d:route("x", 0, WRITE))
  end)

  it("refuses bad options", function()
    refuses(file, "{}", "reject_prefix.lua:%d+: prefix")
    refuses(file, '{prefix="a", only="read"}', 'only: expected "write" or nothing, got read')
  end)
end)

describe("canary_reads.lua", function()
  local file = "scripts/examples/canary_reads.lua"

  -- Of the slots of master 0, how many of 1000 are read from node 3, its replica at 10.0.1.3.
  local function share(d, flags)
    local n = 0
    for slot = 0, 999 do
      local id = d:route("k", slot, flags or READ)
      assert.is_true(id == 0 or id == 3)
      if id == 3 then n = n + 1 end
    end
    return n
  end

  it("gives the canary its share of the reads, by slot", function()
    local d = door.open(file, '{node="10.0.1.3:6379", percent=20}')
    assert.equal(200, share(d))
    assert.equal(200, share(d))
    assert.equal(0, share(d, WRITE))
    assert.equal(1, d:route("k", 8000, READ)) -- another master's slot
    d:node(3).up = 0
    assert.equal(0, share(d))
  end)

  it("finds the canary again after a change", function()
    local d = door.open(file, '{node="10.9.9.9:6379", percent=100}')
    assert.equal(0, share(d))
    d:node(3).host = "10.9.9.9"
    d.view[0].generation = 2
    assert.equal(1000, share(d))
  end)

  it("refuses bad options", function()
    refuses(file, "{}", "node: expected")
    refuses(file, '{node="a:1", percent=101}', "percent: expected a number 0..100")
  end)
end)

describe("tenant_affinity.lua", function()
  local affinity = require "spec.support.affinity"
  local file = "scripts/examples/tenant_affinity.lua"
  local d
  before_each(function()
    d = affinity.open(file, '{tenants={["shop-"]="b:1",["shop-eu-"]="c:1"}}'):backends { "a:1", "b:1", "c:1" }
  end)

  -- Where a client of this name goes.
  local function home(app, more)
    local fields = more or {}
    fields.app = app
    local key = d:identify(fields)
    return d:where(key)
  end

  it("sends a tenant's clients to its backend", function()
    for address = 2, 30 do
      assert.equal("b:1", home("shop-web", { address = address }))
      assert.equal("c:1", home("shop-eu-web", { address = address, fingerprint = address }))
    end
  end)

  it("spreads everybody else", function()
    local seen = {}
    for client = 1, 100 do
      seen[home("sho", { fingerprint = require("puerta.hash").of("client" .. client) })] = true
    end
    assert.same({ ["a:1"] = true, ["b:1"] = true, ["c:1"] = true }, seen)
    assert.equal(home("x", { address = 77 }), home("", { address = 77 }))
  end)

  it("goes elsewhere while that backend cannot be used", function()
    d.at[1].usable = 0
    local elsewhere = home "shop-web"
    assert.is_true(elsewhere == "a:1" or elsewhere == "c:1")
    d:backends { "a:1", "x:1" }
    assert.is_string(home "shop-web")
    assert.equal(0, d:failed())
  end)

  it("refuses bad options", function()
    local ok, err = pcall(affinity.open, file, "{}")
    assert.is_false(ok)
    assert.matches("tenant_affinity.lua:%d+: tenants: expected a table", err)
    ok, err = pcall(affinity.open, file, "{tenants={5}}")
    assert.is_false(ok)
    assert.matches("tenants: expected prefixes and addresses", err)
  end)
end)
