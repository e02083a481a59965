-- The options of puerta.mongodb: defaults, values, and what must fit together.
local c = require "spec.support.config"

local function listener(body) return c.load(c.mongodb(body)).listeners[1] end

-- The one error that options on line 6 cause, without its label.
local function error_of(body)
  local errors = c.errors(c.mongodb(body))
  assert.equal(1, #errors, table.concat(errors, "\n"))
  local text = errors[1]:match '^6: listener "mongodb%-27017": (.*)$'
  return assert.is_string(text, errors[1]) and text
end

local REQUEST = 'forward = "request", '

describe("a mongodb listener", function()
  it("needs two options", function()
    local l = listener ""
    l[1], l.line, l.backends[1].line, l.affinity.line = nil, nil, nil, nil
    assert.same({
      kind = "mongodb", name = "mongodb-27017", bind = { host = "127.0.0.1", port = 27017 }, backlog = 1024,
      backends = { { kind = "backend", { host = "10.0.0.1", port = 27017 }, weight = 1, drain = false } },
      forward = "connection", affinity = { name = "hybrid", opts = "{}", source = "hybrid" },
      session_timeout = 1800000, max_sessions = 100000, prefix = { v4 = 32, v6 = 64 }, fingerprint_ip = true,
      timeouts = { connect = 1000, handshake = 10000, idle = 3600000, request = 0, stall = 60000 }, buffer = 262144,
      health = { interval = 2000, timeout = 1000, jitter = 10, rise = 2, fall = 2, retries = 0, slow_start = 30000, require_mongos = false, resolve = 30000 },
      proxy_protocol = { send = "off" },
      max_connections = 0, max_per_source = 0, source_prefix = { v4 = 32, v6 = 64 }, accept_rate = 0,
    }, l)
  end)

  it("has a pool when requests are placed", function()
    assert.same({ min = 0, max = 16, idle = 600000, wait = 5000, queue = 10000 }, listener(REQUEST).pool)
    assert.is_nil(listener("").pool)
    assert.equal("pool.min: expected at most max, 2", error_of(REQUEST .. "pool = { min = 3, max = 2 }"))
    assert.equal("pool.min: expected at most max, 16", error_of(REQUEST .. "pool = { min = 17 }"))
  end)

  it("takes secrets from the environment", function()
    local l = c.load(c.mongodb(REQUEST .. 'auth = { user = "u", verifier = env.secret "V" }, backend_auth = { user = "b", password = env.secret "P" }'),
      { V = c.VERIFIER, P = "p" }).listeners[1]
    assert.same({ { user = "u", verifier = c.VERIFIER } }, l.auth)
    assert.same({ user = "b", password = "p", source = "admin", mechanism = "auto" }, l.backend_auth)
  end)
end)

describe("options that need requests", function()
  it("say so", function()
    assert.equal('pool: expected forward = "request" with pool: with "connection" each client has a connection to its backend of its own', error_of "pool = {}")
    assert.equal('compression: expected forward = "request" with compression: with "connection" messages pass through as clients and backends agreed',
      error_of 'compression = { "zlib" }')
    assert.equal('auth: expected forward = "request" with auth: with "connection" clients authenticate to their backend themselves',
      error_of(('auth = { user = "u", verifier = %q }'):format(c.VERIFIER)))
    for _, name in ipairs { '"session_id"', 'puerta.policy("session_id", { pick = "round_robin" })' } do
      assert.equal('affinity: expected forward = "request" with "session_id": sessions are seen in requests, not in connections', error_of("affinity = " .. name))
    end
  end)

  it("and the ones that need connections", function()
    assert.equal('proxy_protocol.send: expected forward = "connection" with send: connections to backends are shared by clients',
      error_of(REQUEST .. 'proxy_protocol = { send = "v1" }'))
    assert.equal("off", listener(REQUEST .. 'proxy_protocol = { from = { "::1" }, send = "off" }').proxy_protocol.send)
  end)

  it("are not blamed for a word that is wrong itself", function()
    assert.equal('forward: expected "connection" or "request", got "requests" (did you mean "request"?)', error_of 'forward = "requests", pool = {}')
  end)

  it("but credentials for backends serve checks too", function()
    assert.equal("b", listener('backend_auth = { user = "b", password = "p" }').backend_auth.user)
  end)
end)

describe("affinity", function()
  it("is a name, a name with options, or a file", function()
    assert.equal("socket_addr", listener('affinity = "socket_addr"').affinity.name)
    assert.equal('{["pick"]="round_robin"}', listener('affinity = puerta.policy("hybrid", { pick = "round_robin" })').affinity.opts)
    local tree = assert(require("puerta.config").load("scripts/examples/x.lua", { text = c.mongodb 'affinity = "tenant_affinity.lua"' }))
    assert.equal("scripts/examples/tenant_affinity.lua", tree.listeners[1].affinity.name)
  end)

  it("is told from a policy of Redis", function()
    assert.equal('affinity: "read_near" is a policy, for Redis listeners', error_of 'affinity = "read_near"')
    assert.equal('affinity: "c" is a policy, for Redis listeners', error_of 'affinity = "c"')
    assert.equal('affinity: unknown affinity "hybird" (did you mean "hybrid"?); a file of your own ends in ".lua"', error_of 'affinity = "hybird"')
    assert.equal("affinity: expected the name of an affinity, got 5", error_of "affinity = puerta.policy(5)")
    assert.same({ '6: listener "redis-6379": policy: "hybrid" is an affinity, for MongoDB listeners' }, c.errors(c.redis 'policy = "hybrid"'))
    assert.equal('unknown option "policy"', error_of 'policy = "hybrid"')
  end)
end)

describe("backends", function()
  it("are there once", function()
    local errors = c.errors [[
local p = require "puerta"
return p.config { listeners = { p.mongodb { bind = "*:1", backends = {
  p.backend { "a:1" },
  p.backend { "b:1" },
  p.backend { "a:1", weight = 2 },
} } } }]]
    assert.same({ '5: listener "mongodb-1": backends[3]: a:1 is given twice, first on line 3' }, errors)
  end)

  it("have a weight, and may drain", function()
    local errors = c.errors [[
local p = require "puerta"
return p.config { listeners = { p.mongodb { bind = "*:1", backends = { p.backend { "a:1", weight = 0, drain = "yes" } } } } }]]
    assert.same({
      '2: backend "a:1": weight: expected integer 1..1000, got 0',
      '2: backend "a:1": drain: expected true or false, got "yes"',
    }, errors)
  end)
end)

describe("ranges of addresses", function()
  local good = {
    ["10.0.0.0/8"] = { "10.0.0.0", 8 }, ["0.0.0.0/0"] = { "0.0.0.0", 0 }, ["10.0.0.1"] = { "10.0.0.1", 32 }, ["::1"] = { "::1", 128 },
    ["fd00::/7"] = { "fd00::", 7 }, ["::ffff:10.0.0.0/104"] = { "::ffff:10.0.0.0", 104 },
  }
  for text, range in pairs(good) do
    it("take " .. text, function()
      assert.same({ { host = range[1], bits = range[2] } }, listener(("proxy_protocol = { from = { %q } }"):format(text)).proxy_protocol.from)
    end)
  end

  for text, why in pairs {
    ["10.0.0.0/33"] = "expected 0..32 bits", ["::/129"] = "expected 0..128 bits", ["::/1000"] = "expected 0..128 bits",
    ["10.0.0/8"] = 'expected an address and bits, like "10.0.0.0/8"', ["fe80::1%eth0/64"] = 'expected an address and bits, like "10.0.0.0/8"',
    ["lb.example.com"] = 'expected an address and bits, like "10.0.0.0/8"', ["10.0.0.0/-1"] = 'expected an address and bits, like "10.0.0.0/8"', ["/8"] = 'expected an address and bits, like "10.0.0.0/8"',
  } do
    it("refuse " .. text, function()
      assert.equal(("proxy_protocol.from[1]: %s, got %q"):format(why, text), error_of(("proxy_protocol = { from = { %q } }"):format(text)))
    end)
  end
end)

describe("a verifier", function()
  local function refused(text)
    local e = error_of(REQUEST .. ("auth = { user = 'u', verifier = %q }"):format(text))
    local why = e:match "^auth%.verifier: (.*); `puerta %-%-scram USER` makes one of a password$"
    assert.is_nil(e:find(text, 1, true)) -- it is not shown
    return assert.is_string(why, e) and why
  end
  local iterations, salt, stored, server = c.VERIFIER:match "%$(%d+):(.-)%$(.-):(.*)$"
  local function with(i, s, a, b) return ("SCRAM-SHA-256$%s:%s$%s:%s"):format(i or iterations, s or salt, a or stored, b or server) end

  it("is checked", function()
    assert.equal(c.VERIFIER, with())
    assert.equal(c.VERIFIER, listener(REQUEST .. ("auth = { user = 'u', verifier = %q }"):format(c.VERIFIER)).auth[1].verifier)
    local shape = 'expected "SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey"'
    assert.equal(shape, refused "secret password")
    assert.equal(shape, refused((c.VERIFIER:gsub("256", "1", 1))))
    assert.equal(shape, refused(c.VERIFIER .. ":x"))
    for _, n in ipairs { "4095", "1000001", "99999999999" } do
      assert.equal("expected 4096..1000000 iterations", refused(with(n)))
    end
    for _, s in ipairs { "W22Z!J0SNY7soEsUEjb6gQ==", "W22ZaJ0SNY7soEsUEjb6gQ=", "W22ZaJ0SNY7soEsUEjb6gR==", ("A"):rep(44), "====" } do
      assert.equal("expected a salt of 1..32 bytes in base64", refused(with(nil, s)))
    end
    for _, k in ipairs { salt, stored:sub(1, -2), stored:gsub("Y=$", "Z="), ("A"):rep(44) } do
      assert.equal("expected keys of 32 bytes in base64", refused(with(nil, nil, k)))
      assert.equal("expected keys of 32 bytes in base64", refused(with(nil, nil, nil, k)))
    end
  end)

  it("is asked for instead of a password", function()
    local errors = c.errors(c.mongodb(REQUEST .. 'auth = { user = "u", password = "hush" }'))
    assert.same({
      '6: listener "mongodb-27017": auth: unknown option "password"',
      '6: listener "mongodb-27017": auth: missing option "verifier": `puerta --scram USER` makes it of a password',
    }, errors)
    assert.equal("auth.verifier: expected a string, got 5; `puerta --scram USER` makes one of a password", error_of(REQUEST .. "auth = { user = 'u', verifier = 5 }"))
    assert.equal('auth[2]: user "u" is given twice',
      error_of(REQUEST .. ("auth = { { user = 'u', verifier = %q }, { user = 'u', verifier = %q } }"):format(c.VERIFIER, c.VERIFIER)))
    assert.equal('auth: missing option "user"', error_of(REQUEST .. ("auth = { verifier = %q }"):format(c.VERIFIER)))
  end)
end)

describe("ranges", function()
  for body, why in pairs {
    ['session_timeout = "25h"'] = 'session_timeout: expected 1s..24h, got "25h"',
    ["max_sessions = 0"] = "max_sessions: expected integer 1..10000000, got 0",
    ["prefix = { v4 = 33 }"] = "prefix.v4: expected integer 0..32, got 33",
    ["prefix = { v6 = 129 }"] = "prefix.v6: expected integer 0..128, got 129",
    ['timeouts = { idle = "29m" }'] = 'timeouts.idle: expected 30m..720h, got "29m"',
    ['timeouts = { request = "1ms" }'] = 'timeouts.request: expected 10ms..720h or "0s", got "1ms"',
    ['buffer = "1KiB"'] = 'buffer: expected 16KiB..64MiB, got "1KiB"',
    ["health = { jitter = 51 }"] = "health.jitter: expected integer 0..50, got 51",
    ["health = { fall = 0 }"] = "health.fall: expected integer 1..100, got 0",
    ['health = { interval = 2 }'] = 'health.interval: expected a duration with a unit, got 2 (did you mean "2s"?)',
    ["fingerprint_ip = 1"] = "fingerprint_ip: expected true or false, got 1",
    ['proxy_protocol = { send = "v3" }'] = 'proxy_protocol.send: expected "off", "v1" or "v2", got "v3" (did you mean "v1"?)',
    [REQUEST .. 'compression = { "gzip" }'] = 'compression[1]: expected "snappy", "zlib" or "zstd", got "gzip"',
    ['backend_auth = { user = "b", password = "p", mechanism = "PLAIN" }'] =
      'backend_auth.mechanism: expected "auto", "SCRAM-SHA-1" or "SCRAM-SHA-256", got "PLAIN"',
    ['backend_auth = { password = "p" }'] = 'backend_auth: missing option "user"',
  } do
    it("refuse " .. body, function() assert.equal(why, error_of(body)) end)
  end
end)
