-- The built-in policies before the sample cluster.
local door = require "spec.support.door"

local READ, WRITE = door.READ, door.WRITE

-- Gives master 0 the replicas ids.
local function replicas(d, ids)
  local master = d:node(0)
  master.nreplicas = #ids
  for i, id in ipairs(ids) do
    master.replicas[i - 1] = id
    d:node(id).master, d:node(id).replica = 0, 1
  end
end

describe("slot_owner", function()
  it("sends every slot to its owner", function()
    local d = door.open "slot_owner"
    for slot = 0, 16383, 41 do
      assert.equal(d.sample.owner[slot], d:route("k", slot, slot % 2 == 0 and READ or WRITE))
    end
    assert.equal(-1, d:route(nil, 0xffff))
    d.sample.owner[5] = 0x7fff
    assert.equal(-1, d:route("k", 5))
    assert.equal(0, d:failed())
  end)
end)

describe("read_replica", function()
  it("reads from the replica, writes to the master", function()
    local d = door.open "read_replica"
    assert.equal(3, d:route("k", 0, READ))
    assert.equal(0, d:route("k", 0, WRITE))
    assert.equal(5, d:route("k", 16383, READ))
    assert.equal(-1, d:route(nil, 0xffff, READ))
  end)

  it("reads from the master while no replica is up or there is none", function()
    local d = door.open "read_replica"
    d:node(3).up = 0
    assert.equal(0, d:route("k", 0, READ))
    d:node(0).nreplicas = 0
    assert.equal(0, d:route("k", 0, READ))
  end)

  it("takes the one with the fewest requests in flight", function()
    local d = door.open "read_replica"
    replicas(d, { 3, 4, 5 })
    d:node(3).inflight, d:node(4).inflight, d:node(5).inflight = 4, 3, 4
    assert.same({ [4] = 30 }, d:spread(30, 0))
    d:node(4).up = 0
    d:node(5).inflight = 0xffffffff
    assert.same({ [3] = 30 }, d:spread(30, 0))
  end)

  for n = 1, 16 do
    it("takes equals in turn: " .. n, function()
      local d = door.open "read_replica"
      local nodes = require("ffi").new("pt_view_node[20]") -- the sample has too few
      local master = nodes[0]
      master.up, master.nreplicas = 1, n
      for i = 0, n - 1 do
        master.replicas[i], nodes[i + 1].up, nodes[i + 1].replica = i + 1, 1, 1
      end
      d.view[0].nodes, d.view[0].nnodes = nodes, n + 1
      local count, seen = d:spread(100 * n, 0), 0
      for id, c in pairs(count) do
        assert.is_true(id >= 1 and id <= n and c > 90 and c < 110)
        seen = seen + 1
      end
      assert.equal(n, seen)
    end)
  end

  it("gives the master its share with prefer = any", function()
    local d = door.open("read_replica", '{prefer="any"}')
    local count = d:spread(200, 0)
    assert.is_true(count[0] > 90 and count[0] < 110)
    assert.equal(200, count[0] + count[3])
    d:node(0).inflight = 1
    assert.same({ [3] = 20 }, d:spread(20, 0))
    d:node(0).inflight, d:node(3).up = 9, 0
    assert.same({ [0] = 20 }, d:spread(20, 0))
    assert.equal(0, d:route("k", 0, WRITE))
  end)

  it("refuses other preferences", function()
    local ok, err = pcall(door.open, "read_replica", '{prefer="master"}')
    assert.is_false(ok)
    assert.matches('read_replica.lua:%d+: prefer: expected "replica" or "any", got master', err)
  end)
end)

describe("read_near", function()
  it("reads in the own zone, as the cluster tells it", function()
    local d = door.open("read_near", '{zone="b"}') -- slot 0: master 0 in a, replica 3 in b; slot 16383: master 2 in a, replica 5 in b
    assert.equal(3, d:route("k", 0, READ))
    assert.equal(5, d:route("k", 16383, READ))
    assert.equal(1, d:route("k", 8000, READ)) -- the master itself is in b
    assert.equal(0, d:route("k", 0, WRITE))
    assert.equal(-1, d:route(nil, 0xffff, READ))
  end)

  it("reads from the master when the zone has no node that is up", function()
    local d = door.open("read_near", '{zone="b"}')
    d:node(3).up = 0
    assert.equal(0, d:route("k", 0, READ))
    d = door.open("read_near", '{zone="c"}')
    assert.equal(0, d:route("k", 0, READ))
  end)

  it("takes zones by the longest prefix of the address", function()
    local d = door.open("read_near", '{zone="x", zones={["10."]="y", ["10.0.1."]="x", ["10.0.1.3:6379"]="y", ["10.0.0.0:6379"]="x"}}')
    assert.equal(0, d:route("k", 0, READ)) -- 10.0.0.0:6379
    assert.equal(1, d:route("k", 8000, READ)) -- 10.0.1.1
    assert.equal(5, d:route("k", 16383, READ)) -- replica 10.0.1.5
  end)

  it("looks again at a new generation", function()
    local d = door.open("read_near", '{zone="b"}')
    assert.equal(3, d:route("k", 0, READ))
    d:node(3).zone = "a"
    d.view[0].generation = 2
    assert.equal(0, d:route("k", 0, READ))
  end)

  it("shares reads among the near ones", function()
    local d = door.open("read_near", '{zone="b"}')
    replicas(d, { 3, 4, 5 })
    d.view[0].generation = 3
    local count = d:spread(200, 0)
    assert.is_nil(count[4])
    assert.is_true(count[3] > 90 and count[5] > 90)
  end)

  it("refuses bad options", function()
    for opts, text in pairs {
      ["{}"] = "zone: expected the name", ['{zone="a", zones=1}'] = "zones: expected a table", ['{zone="a", zones={"b"}}'] = "zones: expected entries",
    } do
      local ok, err = pcall(door.open, "read_near", opts)
      assert.is_false(ok)
      assert.matches("read_near.lua:%d+: " .. text, err)
    end
  end)
end)
