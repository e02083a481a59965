-- The ways to choose a backend, through the built-in affinities.
local affinity = require "spec.support.affinity"
local hash = require "puerta.hash"

local KEYS = 10000
local three = { "a:1", "b:1", "c:1" }

-- Where each of the keys goes, by name.
local function placed(d)
  local list = {}
  for k = 1, KEYS do
    list[k] = d:where(hash.of("client " .. k)) or "nowhere"
  end
  return list
end

local function counted(list)
  local count = {}
  for _, name in ipairs(list) do
    count[name] = (count[name] or 0) + 1
  end
  return count
end

-- From where to where keys moved: "a:1>d:1" -> how many, and how many in all.
local function moves(before, after)
  local list, n = {}, 0
  for k = 1, KEYS do
    if before[k] ~= after[k] then
      local move = before[k] .. ">" .. after[k]
      list[move], n = (list[move] or 0) + 1, n + 1
    end
  end
  return list, n
end

local function near(expected, got, share) assert.is_true(math.abs(got - expected) <= share * KEYS, ("%s is not near %s"):format(got, expected)) end

describe("rendezvous", function()
  local d
  before_each(function() d = affinity.open("socket_addr"):backends(three) end)

  it("spreads keys evenly", function()
    local count = counted(placed(d))
    for _, name in ipairs(three) do
      near(KEYS / 3, count[name], 0.03)
    end
  end)

  it("gives everybody the same answer", function()
    local other = affinity.open("hybrid"):backends(three)
    assert.same(placed(d), placed(other))
    local some = {}
    for k = 1, 8 do
      some[k] = d:where(k):sub(1, 1)
    end
    assert.equal("acacabcc", table.concat(some)) -- in every process and version: a change here moves everybody
  end)

  it("moves a quarter of the keys to a fourth backend, and no others", function()
    local before = placed(d)
    local list, n = moves(before, placed(d:backends { "a:1", "b:1", "c:1", "d:1" }))
    near(KEYS / 4, n, 0.03)
    for move in pairs(list) do
      assert.matches(">d:1$", move)
    end
  end)

  it("moves only the keys of a backend that goes", function()
    local before = placed(d)
    local had = counted(before)["b:1"]
    for _, gone in ipairs { "removed", "down" } do
      if gone == "removed" then
        d:backends { "a:1", "c:1" }
      else
        d:backends(three)
        d.at[1].usable = 0
      end
      local list, n = moves(before, placed(d))
      assert.equal(had, n)
      near(had / 2, list["b:1>a:1"], 0.03)
      near(had / 2, list["b:1>c:1"], 0.03)
    end
    d.at[1].usable = 1
    assert.same(before, placed(d)) -- and brings them back
  end)

  it("follows the weights", function()
    local count = counted(placed(d:backends { ["a:1"] = 1, ["b:1"] = 2, ["c:1"] = 5 }))
    near(KEYS / 8, count["a:1"], 0.03)
    near(KEYS / 4, count["b:1"], 0.03)
    near(KEYS * 5 / 8, count["c:1"], 0.03)
  end)

  it("moves keys to a backend that weighs more, and no others", function()
    local before = placed(d)
    local list = moves(before, placed(d:backends { ["a:1"] = 1, ["b:1"] = 2, ["c:1"] = 1 }))
    for move in pairs(list) do
      assert.matches(">b:1$", move)
    end
    assert.is_true(next(list) ~= nil)
  end)

  it("does not look at what changes by the minute", function()
    local before = placed(d)
    d.at[1].connections, d.at[2].inflight = 1000, 1000
    assert.same(before, placed(d))
  end)

  it("gives a backend in its slow start a part of its share, and takes nothing from it that others had", function()
    local before = placed(d)
    d.at[1].effective = 100 -- a tenth
    local now = placed(d)
    near(KEYS * 0.1 / 2.1, counted(now)["b:1"], 0.02)
    for move in pairs(moves(before, now)) do
      assert.matches("^b:1>", move)
    end
  end)

  it("has no answer without a usable backend", function()
    for i = 0, 2 do
      d.at[i].usable = 0
    end
    assert.equal(affinity.DEFAULT, d:pick(7))
    assert.equal(affinity.DEFAULT, d:backends({}):pick(7))
    assert.equal(0, d:failed())
  end)

  it("takes who has no key in turn", function()
    assert.same({ [0] = 100, 100, 100 }, d:spread(300, true))
    assert.equal(d:where(hash.of "client 1"), d:where(hash.of "client 1", affinity.REQUEST, hash.of "client 1"))
  end)
end)

describe("round robin", function()
  local d
  before_each(function() d = affinity.open("socket_addr", '{pick="round_robin"}') end)

  local function order(n)
    local list = {}
    for i = 1, n do
      list[i] = d:where(hash.of "the same"):sub(1, 1)
    end
    return table.concat(list)
  end

  it("takes backends in turn", function()
    d:backends(three)
    assert.equal("abcabcabc", order(9))
  end)

  it("is smooth with weights", function()
    d:backends { ["a:1"] = 5, ["b:1"] = 1, ["c:1"] = 1 }
    assert.equal("aabacaaaabacaa", order(14))
  end)

  it("leaves out who cannot be used, and goes on when they are back", function()
    d:backends(three)
    d.at[1].usable = 0
    assert.equal("acacac", order(6))
    d.at[1].usable = 1
    local _, b = order(9):gsub("b", "")
    assert.equal(3, b)
  end)

  it("gives less to who starts slowly", function()
    d:backends(three)
    d.at[2].effective = 500
    local count = d:spread(1000)
    assert.same({ [0] = 400, 400, 200 }, count)
  end)

  it("remembers a backend by its id", function()
    d:backends { "b:1", "c:1" }
    assert.equal("bcb", order(3))
    d:backends(three) -- indexes move
    local _, n = order(30):gsub("[abc]", "")
    assert.equal(30, n)
    local count = d:spread(300)
    assert.same({ [0] = 100, 100, 100 }, count)
  end)
end)

describe("least connections", function()
  local d
  before_each(function() d = affinity.open("socket_addr", '{pick="least_connections"}'):backends(three) end)

  it("takes the one with the fewest connections and requests", function()
    d.at[0].connections, d.at[1].connections, d.at[2].connections = 3, 2, 1
    assert.same({ [2] = 50 }, d:spread(50))
    d.at[2].inflight = 2
    assert.same({ [1] = 50 }, d:spread(50))
    d.at[1].usable = 0
    local count = d:spread(1000)
    assert.is_nil(count[1])
    assert.is_true(count[0] > 400 and count[2] > 400) -- equals by rendezvous
  end)

  it("counts them by weight", function()
    d:backends { ["a:1"] = 1, ["b:1"] = 4, ["c:1"] = 1 }
    d.at[0].connections, d.at[1].connections, d.at[2].connections = 1, 3, 1
    assert.same({ [1] = 50 }, d:spread(50))
    d.at[1].effective = 100 -- a slow start
    assert.is_nil(d:spread(50)[1])
  end)

  it("decides between equals by rendezvous", function()
    local same = affinity.open("socket_addr"):backends(three)
    assert.same(same:spread(500), d:spread(500))
  end)

  it("has no answer without a usable backend", function() assert.equal(affinity.DEFAULT, d:backends({}):pick(7)) end)
end)

describe("by_name", function()
  it("knows three", function()
    local ok, err = pcall(affinity.open, "hybrid", '{pick="rendevous"}')
    assert.is_false(ok)
    assert.matches('policy/hybrid.lua:%d+: pick: expected "rendezvous", "round_robin" or "least_connections", got rendevous', err)
  end)
end)
