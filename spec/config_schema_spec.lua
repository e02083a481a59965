-- Options: types, units, ranges, defaults, and what the errors say.
local c = require "spec.support.config"

-- The one error that an option on line 6 of a Redis listener causes, without its label.
local function error_of(body)
  local errors = c.errors(c.redis(body))
  assert.equal(1, #errors, table.concat(errors, "\n"))
  local text = errors[1]:match '^6: listener "redis%-6379": (.*)$'
  return assert.is_string(text) and text
end

describe("defaults", function()
  it("complete the two mandatory options", function()
    local tree = c.load(c.redis())
    assert.same({ level = "info", format = "text", to = "stderr" }, tree.log)
    assert.same({ warn = 100, abort = 2000 }, tree.watchdog)
    assert.equal(0, tree.workers)
    assert.equal(30000, tree.drain_timeout)
    local l = tree.listeners[1]
    assert.equal("redis-6379", l.name)
    assert.equal(60000, l.slot_refresh)
    assert.equal(512 * 2 ^ 20, l.max_bulk)
    assert.same({ name = "slot_owner", opts = "{}", source = "slot_owner", line = 5 }, l.policy)
    assert.is_nil(l.auth)
  end)

  it("exist for a mongodb listener", function()
    local l = c.load([[
      local p = require "puerta"
      return p.config { listeners = { p.mongodb { bind = "*:27017", backends = { p.backend { "a:1" }, p.backend { "b:2", weight = 3 } } } } }
    ]]).listeners[1]
    assert.same({ host = "0.0.0.0", port = 27017 }, l.bind)
    assert.equal(1800000, l.session_timeout)
    assert.equal(3, l.backends[2].weight)
    assert.same({ host = "b", port = 2 }, l.backends[2][1])
  end)
end)

describe("units", function()
  local good = { ["250ms"] = 250, ["1.5s"] = 1500, ["2m"] = 120000, ["1h"] = 3600000, [" 1s "] = 1000, ["10000us"] = 10 }
  for text, ms in pairs(good) do
    it("takes " .. text, function() assert.equal(ms, c.listener(("request_timeout = %q"):format(text)).request_timeout) end)
  end

  local bad = {
    ["60"] = 'expected a duration with a unit, got 60 (did you mean "60s"?)',
    ['"60"'] = 'expected a duration with a unit, got "60" (did you mean "60s"?)',
    ["5000"] = 'expected a duration with a unit, got 5000 (did you mean "5000ms"?)',
    ["0"] = 'expected a duration with a unit, got 0 (did you mean "0s"?)',
    ["-1"] = "expected a duration with a unit, got -1",
    ["0/0"] = "expected a duration with a unit, got nan",
    ["math.huge"] = "expected a duration with a unit, got inf",
    ['"5sec"'] = 'expected one of the units us ms s m h, got "5sec" (did you mean "5s"?)',
    ['"5 parsecs"'] = 'expected a duration with a unit, like "250ms", got "5 parsecs"',
    ['"1e3s"'] = 'expected a duration with a unit, like "250ms", got "1e3s"',
    ['"-5s"'] = 'expected a duration with a unit, like "250ms", got "-5s"',
    ['"0s"'] = 'expected 10ms..1h, got "0s"',
    ['"2h"'] = 'expected 10ms..1h, got "2h"',
    ['"15.5ms"'] = 'expected a multiple of 1ms, got "15.5ms"',
    ['"99999999999999999999s"'] = 'expected a duration that is not astronomic, got "99999999999999999999s"',
    ["true"] = 'expected a duration, like "250ms", got true',
    ["{}"] = 'expected a duration, like "250ms", got a table',
  }
  for value, message in pairs(bad) do
    it("refuses " .. value, function()
      local text = error_of("request_timeout = " .. value)
      assert.equal("request_timeout: " .. message, (text:gsub("%-nan", "nan")))
    end)
  end

  it("knows sizes", function()
    assert.equal(65536, c.listener('stream_above = "64KiB"').stream_above)
    assert.equal(2e6, c.listener('stream_above = "2MB"').stream_above)
    assert.equal('stream_above: expected a size with a unit, got 1048576 (did you mean "1MiB"?)', error_of "stream_above = 1048576")
    assert.equal('stream_above: expected a size with a unit, got 2 (did you mean "2MiB"?)', error_of "stream_above = 2")
    assert.equal('stream_above: expected one of the units B kB KiB MB MiB GB GiB, got "2mib" (did you mean "2MiB"?)', error_of 'stream_above = "2mib"')
    assert.equal('stream_above: expected 64KiB..16MiB, got "1GiB"', error_of 'stream_above = "1GiB"')
  end)

  it("count coalesce in microseconds, and let it be off", function()
    assert.equal(150, c.load(c.redis("", 'coalesce = "150us",')).coalesce)
    assert.equal(0, c.load(c.redis("", 'coalesce = "0us",')).coalesce)
    assert.equal(0, c.load(c.redis("", 'watchdog = { abort = "0s" },')).watchdog.abort)
  end)
end)

describe("numbers and words", function()
  for value, shown in pairs { ["16"] = "16", ["-1"] = "-1", ["1.5"] = "1.5", ['"3"'] = '"3"', ["{}"] = "a table", ["print_"] = false } do
    it("refuses max_redirects = " .. value, function()
      if shown then
        assert.equal("max_redirects: expected integer 0..15, got " .. shown, error_of("max_redirects = " .. value))
      else
        assert.matches("^6: print_ is not defined in a configuration", c.errors(c.redis("max_redirects = " .. value))[1])
      end
    end)
  end

  it("suggest the word that was meant", function()
    assert.same({ '3: log.level: expected "debug", "info", "warn" or "error", got "warning" (did you mean "warn"?)' },
      c.errors(c.redis("", 'log = { level = "warning" },')))
    assert.same({ '3: log: unknown option "levle" (did you mean "level"?)' }, c.errors(c.redis("", 'log = { levle = "warn" },')))
    assert.same({ '3: log: expected a table of options, got "json"' }, c.errors(c.redis("", 'log = "json",')))
  end)

  it("of the access log is a share of the requests", function()
    assert.is_nil(c.load(c.redis()).log.access)
    assert.same({ connections = true, requests = true, sample = 0.01 }, c.load(c.redis("", "log = { access = {} },")).log.access)
    assert.equal(1, c.load(c.redis("", "log = { access = { sample = 1 } },")).log.access.sample)
    for _, sample in ipairs { "0", "1.5", "-1", "0/0", '"1%"', "true" } do
      local text = c.errors(c.redis("", ("log = { access = { sample = %s } },"):format(sample)))[1]
      assert.truthy(text:find("log.access.sample: expected a number 1e-06..1, got ", 1, true), text)
    end
  end)

  it("of the log's target is a word or a path", function()
    for _, to in ipairs { "stderr", "syslog", "journald", "/var/log/p.log", "./p.log", "logs/p.log", "syslog:/run/x", "journald:/run/x" } do
      assert.equal(to, c.load(c.redis("", ("log = { to = %q },"):format(to))).log.to)
    end
    for _, to in ipairs { "sysloog", "p.log", "", "logs/", "syslog:", "stderr:/x", "http://host/x", "a\n/b" } do
      local text = c.errors(c.redis("", ("log = { to = %q },"):format(to)))[1]
      assert.truthy(text:find('log.to: expected "stderr", "syslog", "journald" or the path of a file (with a "/"), got ', 1, true), text)
    end
  end)

  it("compare options where they must fit", function()
    assert.same({ "3: watchdog.abort: expected more than warn" }, c.errors(c.redis("", 'watchdog = { warn = "3s" },')))
    assert.matches('affinity: expected forward = "request"', c.errors([[
      local p = require "puerta"
      return p.config { listeners = { p.mongodb { bind = "*:1", backends = { p.backend { "a:1" } }, affinity = "session_id" } } }]])[1])
  end)

  it("keep names plain", function()
    assert.equal('name: expected a name of up to 64 letters, digits and _-., got "a b"', (c.errors(c.redis 'name = "a b"')[1]:match 'listener "a b": (.*)'))
  end)
end)

describe("addresses", function()
  local good = {
    ["redis1.example.com:6379"] = { "redis1.example.com", 6379 }, ["10.0.0.1:1"] = { "10.0.0.1", 1 }, ["[::1]:65535"] = { "::1", 65535 },
    ["[fe80::1%eth0]:80"] = { "fe80::1%eth0", 80 }, ["[::ffff:10.0.0.1]:80"] = { "::ffff:10.0.0.1", 80 }, ["redis_1:80"] = { "redis_1", 80 },
  }
  for text, a in pairs(good) do
    it("takes " .. text, function() assert.same({ host = a[1], port = a[2] }, c.listener(("nodes = { %q }"):format(text)).nodes[1]) end)
  end

  local bad = {
    ['"redis1"'] = 'expected host:port, got "redis1" (did you mean "redis1:6379"?)',
    ['"10.0.0.1"'] = 'expected host:port, got "10.0.0.1" (did you mean "10.0.0.1:6379"?)',
    ['"::1"'] = 'expected host:port, got "::1" (did you mean "[::1]:6379"?)',
    ['"[::1]"'] = 'expected host:port, got "[::1]" (did you mean "[::1]:6379"?)',
    ['"a:0"'] = 'expected a port 1..65535, got "a:0"',
    ['"a:65536"'] = 'expected a port 1..65535, got "a:65536"',
    ['"a:999999999999"'] = 'expected a port 1..65535, got "a:999999999999"',
    ['":6379"'] = 'expected host:port, got ":6379"',
    ['"a b:1"'] = 'expected host:port, got "a b:1"',
    ['"10.0.0.256:1"'] = 'expected host:port, got "10.0.0.256:1"',
    ['"[::1::2]:1"'] = 'expected an IPv6 address in the brackets, got "[::1::2]:1"',
    ['"*:1"'] = 'expected the host to connect to, not *, got "*:1"',
    ['"unix:/run/redis"'] = 'expected host:port (unix sockets are not built yet), got "unix:/run/redis"',
    ['"a\\nb:1"'] = 'expected host:port, got "a\\010b:1"',
    ["6379"] = 'expected "host:port", got 6379 (did you mean "127.0.0.1:6379"?)',
    ["puerta.backend { \"a:1\" }"] = 'expected "host:port", got puerta.backend',
  }
  for value, message in pairs(bad) do
    it("refuses " .. value, function()
      assert.equal("nodes[1]: " .. message, error_of(("nodes = { %s }"):format(value)))
    end)
  end

  it("are numeric where one listens", function()
    local function bind_error(bind)
      return c.errors(('local p = require "puerta" return p.config { listeners = { p.redis { bind = %q, nodes = { "a:1" } } } }'):format(bind))[1]
    end
    assert.matches('bind: expected a numeric address or %* to listen on, got "localhost:6379" %(did you mean "127.0.0.1:6379"%?%)', bind_error "localhost:6379")
    assert.matches("bind: expected a numeric address", bind_error "example.com:6379")
  end)

  it("are mapped", function()
    assert.same({ { from = { host = "10.0.0.1", port = 6379 }, to = { host = "127.0.0.1", port = 7001 } } },
      c.listener('remap = { ["10.0.0.1:6379"] = "127.0.0.1:7001" }').remap)
    assert.equal('remap["10.0.0.1"]: expected host:port, got "10.0.0.1" (did you mean "10.0.0.1:6379"?)', error_of 'remap = { ["10.0.0.1"] = "a:1" }')
  end)
end)

describe("auth", function()
  it("has three forms", function()
    assert.same({ { user = "default", password = "p" } }, c.listener('auth = { password = "p" }').auth)
    assert.same({ { user = "u", password = "p" } }, c.listener('auth = { user = "u", password = "p" }').auth)
    assert.same({ { user = "default", password = "p" }, { user = "u", password = "q" } }, c.listener('auth = { { password = "p" }, { user = "u", password = "q" } }').auth)
    assert.same({ user = "default", password = "p" }, c.listener('backend_auth = { password = "p" }').backend_auth)
  end)

  it("is never open by mistake", function()
    assert.equal("auth: expected at least one element", error_of "auth = {}")
    assert.equal('auth: missing option "password"', error_of 'auth = { user = "u" }')
    assert.equal("auth.password: expected a string of 1..512 bytes, got a string", error_of 'auth = { password = "" }')
    assert.equal("auth: expected a list, got true", error_of "auth = true")
    assert.equal('auth[2]: user "u" is given twice', error_of 'auth = { { user = "u", password = "p" }, { user = "u", password = "q" } }')
    assert.equal("auth.password: expected a string of 1..512 bytes, got a string", error_of 'auth = { password = "a\\0b" }')
  end)

  it("shows no password in an error", function()
    assert.equal("auth.password: expected a string of 1..512 bytes, got a number", error_of "auth = { password = 12345 }")
    assert.equal('auth: unknown option "passwort" (did you mean "password"?)', error_of 'auth = { password = "hush", passwort = "hush" }')
  end)
end)

describe("policy", function()
  it("is a name or a constructor with options", function()
    assert.equal("read_replica", c.listener('policy = "read_replica"').policy.name)
    assert.equal("c", c.listener('policy = "c"').policy.name)
    local p = c.listener('policy = puerta.policy("read_near", { zone = "a", n = 1.5, deep = { true, [3] = "x\\0\\n\\"" } })').policy
    assert.equal('{["deep"]={true,[3]="x\\000\\010\\""},["n"]=1.5,["zone"]="a"}', p.opts)
    assert.same({ zone = "a", n = 1.5, deep = { true, [3] = 'x\0\n"' } }, loadstring("return " .. p.opts)())
  end)

  it("is found relative to the file", function()
    local config = require "puerta.config"
    local text = c.redis 'policy = "tenant_replica.lua"'
    local tree = assert(config.load("scripts/examples/c.lua", { text = text }))
    assert.equal("scripts/examples/tenant_replica.lua", tree.listeners[1].policy.name)
    assert.equal("policy: conf/nowhere.lua: No such file or directory", error_of 'policy = "nowhere.lua"')
  end)

  it("says what is wrong with it", function()
    assert.equal('policy: unknown policy "read_nera" (did you mean "read_near"?); a file of your own ends in ".lua"', error_of 'policy = "read_nera"')
    assert.equal("policy: expected a name or puerta.policy(name, options), got 5", error_of "policy = 5")
    assert.equal("policy: expected the name of a policy, got 5", error_of "policy = puerta.policy(5)")
    assert.equal("policy: puerta.policy: expected a name and a table of options", error_of "policy = puerta.policy()")
    assert.matches("write puerta.policy", error_of 'policy = puerta.policy { "read_near", zone = "a" }')
    assert.equal("policy: expected a table of options, got 5", error_of 'policy = puerta.policy("c", 5)')
    assert.matches("%.f: expected a string, number, boolean or table, got a function", error_of 'policy = puerta.policy("c", { f = function() end })')
    assert.matches("%.s: expected a string, number, boolean or table, got a secret", error_of 'policy = puerta.policy("c", { s = env.secret("S", "x") })')
    assert.matches("tables deeper than 16 levels", error_of 'policy = (function() local t = {} t.t = t return puerta.policy("c", t) end)()')
  end)
end)

describe("lists", function()
  it("are lists", function()
    assert.equal('nodes: expected a list like { "redis1:6379" }, got "a:1"', error_of 'nodes = "a:1"')
    assert.equal("nodes: expected at least one element", error_of "nodes = {}")
    assert.equal("nodes.x: expected a list without names and holes", error_of 'nodes = { "a:1", x = "b:1" }')
  end)
end)

describe("the process", function()
  local function top_errors(top) return c.errors(c.redis("", top)) end

  it("has a pid file at an absolute path", function()
    assert.equal("/run/puerta/puerta.pid", c.load(c.redis("", 'pid_file = "/run/puerta/puerta.pid",')).pid_file)
    for _, bad in ipairs { '"puerta.pid"', '""', '"/a\\nb"', "5" } do
      assert.matches('^3: pid_file: expected an absolute path, like "/run/puerta/puerta.pid", got ', top_errors(("pid_file = %s,"):format(bad))[1])
    end
  end)

  it("has no group without a user", function()
    assert.same({ "3: group: expected user with group" }, top_errors 'group = "g",')
    assert.equal("g", c.load(c.redis("", 'user = "u", group = "g",')).group)
  end)
end)
