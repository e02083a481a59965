-- puerta.map against a Lua table.
local puerta = require "puerta.api"

describe("puerta.map", function()
  it("sets, gets, adds, removes", function()
    local m = puerta.map(10)
    assert.equal(0, m:get(5))
    assert.is_false(m:has(5))
    assert.is_true(m:set(5, 7))
    assert.equal(7, m:get(5))
    assert.equal(9, m:add(5, 2))
    assert.equal(1, m:add(6, 1))
    assert.equal(2, m.count)
    assert.is_true(m:remove(5))
    assert.is_false(m:remove(5))
    assert.equal(0, m:get(5))
    m:clear()
    assert.equal(0, m.count)
    assert.is_false(m:has(6))
  end)

  it("takes key 0 and 64-bit keys", function()
    local m = puerta.map(4)
    assert.is_false(m:has(0))
    assert.is_true(m:set(0, 3))
    assert.is_true(m:has(0))
    assert.is_true(m:set(0xffffffffffffffffULL, 4))
    assert.equal(3, m:get(0))
    assert.equal(4, m:get(-1ULL))
    assert.is_true(m:remove(0))
    assert.equal(0, m:get(0))
    assert.equal(1, m.count)
  end)

  it("says when it is full", function()
    local m = puerta.map(3)
    assert.is_true(m:set(0, 1) and m:set(1, 1) and m:set(2, 1))
    assert.is_false(m:set(3, 1))
    assert.is_nil(m:add(3, 1))
    assert.is_true(m:set(2, 5))
    assert.equal(3, m.count)
    assert.is_true(m:remove(1))
    assert.is_true(m:set(3, 1))
  end)

  it("agrees with a table over random operations", function()
    local m, t, n = puerta.map(200), {}, 0
    math.randomseed(11)
    for _ = 1, 50000 do
      local k, op = math.random(0, 300), math.random(3)
      if op == 1 and (t[k] or n < 200) then
        if not t[k] then n = n + 1 end
        t[k] = math.random(1000)
        assert.is_true(m:set(k, t[k]))
      elseif op == 2 then
        assert.equal(t[k] ~= nil, m:remove(k))
        if t[k] then n = n - 1 end
        t[k] = nil
      end
      assert.equal(t[k] or 0, m:get(k))
      assert.equal(t[k] ~= nil, m:has(k))
      assert.equal(n, m.count)
    end
    for k = 0, 300 do
      assert.equal(t[k] or 0, m:get(k))
    end
  end)

  it("refuses silly capacities", function()
    for _, c in ipairs { 0, -1, 1.5, 2 ^ 29, "10" } do
      assert.has_error(function() puerta.map(c) end)
    end
  end)
end)
