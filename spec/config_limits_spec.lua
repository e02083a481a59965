-- Who may come in, and how many: the options all listeners have.
local c = require "spec.support.config"

local function error_of(body)
  local errors = c.errors(c.redis(body))
  assert.equal(1, #errors, table.concat(errors, "\n"))
  return errors[1]:match '^6: listener "redis%-6379": (.*)$'
end

describe("limits", function()
  it("are off by themselves", function()
    local tree = c.load(c.redis())
    assert.same({ 0, 0 }, { tree.max_connections, tree.accept_rate })
    local l = tree.listeners[1]
    assert.same({ 0, 0, 0 }, { l.max_connections, l.max_per_source, l.accept_rate })
    assert.same({ v4 = 32, v6 = 64 }, l.source_prefix)
    assert.is_nil(l.allow or l.deny or tree.memory.max)
  end)

  it("take ranges of addresses, and addresses", function()
    local l = c.listener 'allow = { "10.0.0.0/8", "fd00::/8", "192.0.2.1" }, deny = { "::1" }'
    assert.same({ { host = "10.0.0.0", bits = 8 }, { host = "fd00::", bits = 8 }, { host = "192.0.2.1", bits = 32 } }, l.allow)
    assert.same({ { host = "::1", bits = 128 } }, l.deny)
  end)

  it("say what is wrong", function()
    assert.equal('allow[2]: expected an address and bits, like "10.0.0.0/8", got "example.com"', error_of 'allow = { "::1", "example.com" }')
    assert.equal('deny[1]: expected 0..32 bits, got "10.0.0.0/33"', error_of 'deny = { "10.0.0.0/33" }')
    assert.equal("allow: expected at least one element", error_of "allow = {}")
    assert.equal("max_connections: expected integer 0..10000000, got -1", error_of "max_connections = -1")
    assert.equal("source_prefix.v4: expected integer 0..32, got 33", error_of "source_prefix = { v4 = 33 }")
  end)
end)
