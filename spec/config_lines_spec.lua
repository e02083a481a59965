-- Every mistake at once, each with the line where it stands.
local c = require "spec.support.config"

-- The lines of the errors, in order.
local function lines(text, env)
  local list = {}
  for i, e in ipairs(c.errors(text, env)) do
    list[i] = tonumber(e:match "^(%d+): ") or e
  end
  return list
end

describe("errors", function()
  it("come all at once, ordered by line", function()
    local text = [[
local puerta = require "puerta"
local env = puerta.env
return puerta.config {
  workers = "two",
  listeners = {
    puerta.redis {
      bind = "0.0.0.0:6379",
      nodes = { "redis1:6379", "redis2" },
      slot_refresh = 60,
      auth = { password = env.secret "NOWHERE" },
    },
    puerta.redis {
      bind = "0.0.0.0:6380",
      max_redirekts = 3,
    },
  },
}
]]
    assert.same({
      '4: workers: expected integer 0..256, got "two"',
      '8: listener "redis-6379": nodes[2]: expected host:port, got "redis2" (did you mean "redis2:6379"?)',
      '9: listener "redis-6379": slot_refresh: expected a duration with a unit, got 60 (did you mean "60s"?)',
      "10: environment variable NOWHERE is not set",
      '12: listener "redis-6380": missing option "nodes"',
      '14: listener "redis-6380": unknown option "max_redirekts" (did you mean "max_redirects"?)',
    }, c.errors(text))
  end)

  it("look as the design shows them", function()
    local text = [[
local puerta = require "puerta"
return puerta.config {
  workers = 2,
  listeners = {
    puerta.redis { name = "cache", bind = "0.0.0.0:6379", nodes = { "redis1:6379" } },
    puerta.mongodb {
      name = "orders",
      bind = "0.0.0.0:27017",
      affinity = "hybrid",
      session_timeout = "30m",
      timeout = "1s",
      backends = {
        puerta.backend { "mongos-a:27017" },
        puerta.backend {
          "mongos-b:27017",

          weight = "two",
        },
      },
    },
  },
}
]]
    local _, errors = require("puerta.config").load("conf/mongodb.lua", { text = text })
    assert.equal(
      [[
conf/mongodb.lua:11: listener "orders": unknown option "timeout" (did you mean "timeouts"?)
conf/mongodb.lua:17: backend "mongos-b:27017": weight: expected integer 1..1000, got "two"
2 errors; configuration not applied]], errors)
  end)

  it("are counted in the singular too", function()
    local _, errors = require("puerta.config").load("x.lua", { text = "return 5" })
    assert.equal("x.lua:1: expected the file to return puerta.config { ... }, got 5\n1 error; configuration not applied", errors)
  end)

  it("suggest an option of a constructor with a positional value", function()
    assert.same({ '2: backend "a:1": unknown option "weihgt" (did you mean "weight"?)' }, c.errors [[local p = require "puerta"
return p.config { listeners = { p.mongodb { bind = "*:1", backends = { p.backend { "a:1", weihgt = 2 } } } } }]])
  end)

  it("name what is used twice", function()
    local text = [[
local p = require "puerta"
return p.config { listeners = {
  p.redis { name = "a", bind = "127.0.0.1:1", nodes = { "n:1" } },
  p.redis { name = "a", bind = "127.0.0.1:2", nodes = { "n:1" } },
  p.redis { name = "c", bind = "127.0.0.1:1", nodes = { "n:1" } },
  p.redis { name = "d", bind = "*:1", nodes = { "n:1" } },
  p.redis { name = "e", bind = "127.0.0.2:2", nodes = { "n:1" } },
} }]]
    assert.same({
      '4: listener "a": name is used already, on line 3',
      '5: listener "c": bind 127.0.0.1:1 is used already, on line 3',
      '6: listener "d": bind 0.0.0.0:1 is used already, on line 3',
    }, c.errors(text))
    assert.same({ '6: listener "redis-6379": max_redirects: given twice, first on line 6' }, c.errors(c.redis "max_redirects = 1, max_redirects = 2"))
  end)

  it("know constructors in the wrong place", function()
    local function error_in(body)
      return c.errors('local p = require "puerta"\nlocal b = p.backend { "a:1" }\nreturn p.config {\n listeners = ' .. body .. " }")[1]
    end
    assert.equal("4: listeners[1]: expected puerta.mongodb or puerta.redis, got puerta.backend", error_in "{ b }")
    assert.equal("4: listeners[1]: expected puerta.mongodb or puerta.redis, got a table (write puerta.redis { ... })", error_in "{ {} }")
    assert.equal('4: listeners: expected a list like { puerta.redis { ... } }, got puerta.redis', error_in "p.redis { }")
    assert.equal("4: listeners[1]: puerta.redis: expected one table of options, got \"x\"", error_in '{ p.redis "x" }')
    assert.equal("4: listeners[1]: puerta.redis: expected one table of options, got 0 arguments", error_in "{ p.redis() }")
    assert.equal("4: listeners[1]: puerta.redis: expected one table of options, got puerta.backend", error_in "{ p.redis(b) }")
    assert.equal("4: listeners[1]: unexpected value 5: options have names", error_in "{ p.redis { 5, bind = 1 } }")
    assert.matches("^2: expected the file to return puerta.config", c.errors('local p = require "puerta"\nreturn p.redis { }')[1])
    assert.equal("2: puerta.redis cannot be changed after it was made", c.errors('local p = require "puerta"\nlocal r = p.redis { } r.x = 1')[1])
  end)
end)

describe("lines", function()
  it("are found through comments, strings and long brackets", function()
    assert.same({ 14 }, lines [==[
#!/usr/bin/env puerta
local puerta = require "puerta" -- puerta.redis { bind = 1,
--[[ puerta.redis {
  max_redirects = 1 ]] local s = [=[
puerta.redis { ]] } ]=] .. "\"puerta.redis {\z
  " .. 'it\'s {'
return puerta.config {
  workers = #s * 0 + 1e+0, --[=[
  ]=]
  listeners = { puerta.redis {
    name = "a" .. ("x"):rep(1),
    ["bind"] = '127.0.0.1:1', nodes = { [1] = "n:1" };

    [ [[max_redirects]] ] = #{ 1; 2 } == 2 and
      99,
  } },
}
]==])
  end)

  it("are found in several constructors on one line", function()
    local text = [[
local p = require "puerta"
return p.config { listeners = { p.mongodb { bind = "*:1", backends = { p.backend { "a:1" }, p.backend { "b:1",
  weight = 0 }, p.backend { "c:1",

  weight = 0 } } } } }]]
    assert.same({ 3, 5 }, lines(text))
  end)

  it("are found in loops, functions and under other names", function()
    local text = [[
local p = require "puerta"
local redis, listeners = p.redis, {}
local function cache(port, options)
  return p.redis {
    bind = "127.0.0.1:" .. port,
    nodes = { "a" },
  }
end
for i = 1, 2 do
  listeners[i] = p.redis {
    bind = "127.0.0.1:" .. i,
    nodes = { "n:1" },
    max_redirects = function(a, b) if a then return 1, { x = 2 } end end,
  }
end
listeners[3] = cache(3)
listeners[4] = redis {
  bind = "127.0.0.1:4", nodes = { "n:1" },
  max_redirects = "x",
}
local common = { bind = "127.0.0.1:5", nodes = { "n:1" }, max_redirects = "y" }
listeners[5] = p.redis(common)
return p.config { listeners = listeners }]]
    assert.same({ 6, 13, 13, 19, 22 }, lines(text))
  end)

  it("are found in nested tables and in a policy's options", function()
    local text = [[
local puerta = require "puerta"
return puerta.config {
  log = {
    level = "info",
    format = "xml",
  },
  listeners = {
    puerta.redis({
      bind = "127.0.0.1:1",
      nodes = {
        "a:1",
        "b",
      },
      policy = puerta.policy("read_near", {
        zones = {
          f = puerta,
        },
      }),
      auth = {
        { password = "x" },
        { user = "u" },
      },
    }),
  },
}]]
    assert.same({ 5, 12, 16, 21 }, lines(text))
  end)
end)

describe("a mutilated file", function()
  it("never makes the loader itself fail", function()
    local config = require "puerta.config"
    local text = c.redis 'auth = { password = env.secret "S" }, policy = puerta.policy("read_near", { zone = "a" }), slot_refresh = "1s"'
      .. '-- x\nlocal b = { puerta.mongodb { bind = "*:1", backends = { puerta.backend { "a:1", weight = 2 } } } }'
    text = text:gsub("return (.*)\n%-%- x\n(.*)$", "%2\nb[2] = %1\nreturn b[2]")
    local words, extra = {}, { "(", ")", "{", "}", "[", "]", ",", ";", "=", "..", "nil", "0/0", "1e309", "-1", "{}", '"x"', "[[", "--", "\0", "\255", "function() end",
      "puerta.redis", "puerta.backend {", "env.int", "puerta", "env.secret 'S'", "weihgt" }
    for word, rest in text:gmatch "([%w_]*)([^%w_]*)" do
      words[#words + 1] = word
      for byte in rest:gmatch "." do
        words[#words + 1] = byte
      end
    end
    local seed, compiled = 1, 0
    local function random(n)
      seed = seed * 16807 % 2147483647
      return seed % n + 1
    end
    for _ = 1, 3000 do
      local mutant = { unpack(words) }
      for _ = 1, random(3) do
        local at = random(#mutant)
        mutant[at] = ({ "", extra[random(#extra)], mutant[at] .. " " .. extra[random(#extra)], mutant[random(#mutant)] })[random(4)]
      end
      local source = table.concat(mutant)
      local ok, tree, errors = pcall(config.load, "x.lua", { text = source, getenv = function() end })
      assert.is_true(ok, source .. "\n" .. tostring(tree))
      assert.is_true(tree ~= nil or errors:find "configuration not applied$" ~= nil, source)
      compiled = compiled + (loadstring(source) and 1 or 0)
    end
    assert.is_true(compiled > 300, compiled)
  end)
end)

describe("the reader of the source", function()
  local source = require "puerta.source"

  it("finds the calls in files of the product", function()
    -- It must come through any valid Lua; their require calls are easy to count.
    for _, name in ipairs { "source", "types", "shape", "env", "cluster", "driver" } do
      local file = assert(io.open("lua/puerta/" .. name .. ".lua"))
      local text = file:read "*a"
      file:close()
      local sites, last = source.calls(text)
      local requires = 0
      for _, site in ipairs(sites) do
        if site.name == "require" then requires = requires + 1 end
      end
      local _, expected = text:gsub('require[ (]"', "")
      assert.equal(expected, requires, name)
      local _, newlines = text:gsub("\n", "")
      assert.equal(newlines, last, name)
    end
  end)
end)
