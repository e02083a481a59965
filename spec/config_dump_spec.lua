-- The dump is a configuration; the shipped files are valid; what is generated is up to date.
local c = require "spec.support.config"
local config = require "puerta.config"

-- A tree without what depends on where things stand and without secrets.
local function stripped(v)
  if type(v) ~= "table" then return v end
  local copy = {}
  for key, element in pairs(v) do
    if key ~= "line" and key ~= "password" and key ~= "verifier" and key ~= "source" then copy[key] = stripped(element) end
  end
  return copy
end

local function again(text, env)
  local tree, dump = c.load(text, env), c.dump(text, env)
  assert.same(stripped(tree), stripped(c.load(dump)))
  assert.equal(dump, c.dump(dump))
  return dump
end

local full = [[
local p = require "puerta"
return p.config {
  daemon = true, pid_file = "/run/x/y.pid", user = "u", group = "g-1",
  workers = 3, drain_timeout = "90s", coalesce = "0us", log = { level = "debug", format = "json", to = "/var/log/p.log", access = { connections = false, sample = 0.25, to = "syslog" } }, watchdog = { warn = "150ms", abort = "0s" },
  listeners = {
    p.redis {
      name = "cache", bind = "[::]:6379", backlog = 7, nodes = { "a:1", "[::1]:2", "10.0.0.3:3" },
      auth = { { password = "x" }, { user = "u\\\"", password = "y" } }, backend_auth = { user = "v", password = "z" },
      policy = p.policy("read_near", { zone = "a", ["odd key"] = { 1, 2, { x = false } }, [7] = -1.25, s = "\n\0\"\\" }),
      remap = { ["10.0.0.1:6379"] = "127.0.0.1:7001", ["[::2]:1"] = "b:2" },
      slot_refresh = "1500ms", max_redirects = 0, connections = 16, connect_timeout = "10ms", request_timeout = "1h", retry_interval = "30m",
      max_bulk = "1000B", stream_above = "100kB", max_pipeline = 1, client_buffer = "64GiB", max_request = "1.5MiB", node_backlog = "3MB",
    },
    p.mongodb { bind = "*:27017", backends = { p.backend { "a:1", weight = 1000 }, p.backend { "[::1]:1", drain = true } }, forward = "request",
      affinity = p.policy("session_id", { pick = "round_robin" }), session_timeout = "24h", max_sessions = 7, prefix = { v4 = 0, v6 = 128 }, fingerprint_ip = false,
      pool = { min = 2, max = 2, idle = "1s", wait = "10ms", queue = 1 }, timeouts = { idle = "720h", request = "1h", handshake = "1s" }, buffer = "1MiB",
      health = { interval = "500ms", slow_start = "0s", require_mongos = true }, proxy_protocol = { from = { "10.0.0.0/8", "::1" } },
      auth = { user = "u", verifier = "VERIFIER" }, backend_auth = { user = "p", password = "q", mechanism = "SCRAM-SHA-1", source = "db" },
      compression = { "zstd", "snappy" } },
    p.mongodb { bind = "*:27018", backends = { p.backend { "a:1" } }, proxy_protocol = { send = "v2" } },
  },
}]]

describe("the dump", function()
  it("of two lines means the same", function() again(c.redis()) end)

  it("of everything means the same", function()
    local dump = again((full:gsub('"1000B"', '"2000B"'):gsub("VERIFIER", (c.VERIFIER:gsub("%%", "%%%%")))))
    assert.matches('max_bulk = "2kB"', dump, 1, true)
    assert.matches('drain_timeout = "90s"', dump, 1, true)
    assert.matches('request_timeout = "1h"', dump, 1, true)
    assert.is_nil(dump:find(c.VERIFIER, 1, true))
  end)

  it("finds a policy from anywhere", function()
    local text = c.redis 'policy = puerta.policy("x/../mine.lua", { a = 1 })'
    local dump = assert(config.dump("scripts/examples/y.lua", { text = text:gsub("x/../mine", "./tenant_replica"), base = "/base/" }))
    assert.matches('policy = puerta.policy("/base/./tenant_replica.lua", {["a"]=1})', dump, 1, true)
    text = c.mongodb('affinity = "tenant_affinity.lua"')
    dump = assert(config.dump("scripts/examples/y.lua", { text = text, base = "/base/" }))
    assert.matches('affinity = "/base/tenant_affinity.lua"', dump, 1, true)
  end)

  it("is refused with the errors of the file", function()
    local text, errors = config.dump("x.lua", { text = "return 1" })
    assert.is_nil(text)
    assert.matches("^x.lua:1: ", errors)
  end)
end)

local function files(command)
  local list, pipe = {}, assert(io.popen(command))
  for line in pipe:lines() do
    list[#list + 1] = line
  end
  pipe:close()
  return list
end

describe("the shipped configurations", function()
  local shipped = files "ls conf/*.lua"

  it("are there", function() assert.is_true(#shipped >= 7) end)

  for _, path in ipairs(shipped) do
    it(path .. " is valid", function()
      local env = { PUERTA_PASSWORD = "a", PUERTA_REPORTS_PASSWORD = "b", REDIS_PASSWORD = "c", MONGODB_PASSWORD = "d", PUERTA_APP_VERIFIER = c.VERIFIER }
      local tree, errors = config.load(path, { getenv = function(name) return env[name] end })
      assert.is_table(tree, errors)
    end)
  end

  it("have no password of their own", function()
    local _, errors = config.load("conf/redis-auth.lua", { getenv = function() end })
    assert.matches("environment variable REDIS_PASSWORD is not set", errors, 1, true)
  end)
end)

describe("tools/docs.sh", function()
  it("finds its files up to date", function() assert.equal(0, os.execute "tools/docs.sh --check") end)

  it("finds a stale one and names it", function()
    local dir = files("mktemp -d")[1]
    assert(os.execute(("cp -r conf docs lua packaging src tools %s"):format(dir)) == 0)
    assert(os.execute(("cd %s && echo >>lua/meta/puerta.lua && sed -i s/print/show/ src/cli_options.h"):format(dir)) == 0)
    local said = files(("%s/tools/docs.sh --check 2>&1; echo $?"):format(dir))
    local stale = {}
    for i, path in ipairs { "lua/meta/puerta.lua", "packaging/man/puerta.1", "packaging/completion/_puerta" } do
      stale[i] = path .. " is stale: run tools/docs.sh"
    end
    assert.same({ stale[1], stale[2], stale[3], "1" }, said)
    os.execute("rm -rf " .. dir)
  end)

  it("makes stubs that are Lua", function() assert.is_table(assert(loadfile "lua/meta/puerta.lua")()) end)
end)
