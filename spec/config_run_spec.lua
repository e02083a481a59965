-- Running the file: what it can reach, what it takes from the environment, how it fails.
local c = require "spec.support.config"
local config = require "puerta.config"

local HEAD = 'local puerta = require "puerta"\nlocal env = puerta.env\n'

-- The one error of a text behind the usual two lines.
local function error_of(body, env)
  local errors = c.errors(HEAD .. body, env)
  assert.equal(1, #errors, table.concat(errors, "\n"))
  return errors[1]
end

describe("a file that is no configuration", function()
  it("is named with the reason", function()
    local function errors_of(path) return select(2, config.load(path)) end
    assert.equal("/nowhere/x.lua: No such file or directory\n1 error; configuration not applied", errors_of "/nowhere/x.lua")
    assert.equal("/tmp: Is a directory\n1 error; configuration not applied", errors_of "/tmp")
  end)

  it("has a syntax error", function()
    assert.equal("3: '}' expected (to close '{' at line 1) near '<eof>'", (c.errors("return {\n1\n")[1]))
    assert.matches("^2: .*near", c.errors("local x = 1\nreturn )")[1])
    assert.matches("^1: unfinished string", c.errors('return "')[1])
    assert.equal("conf/x.lua: expected Lua source, got bytecode", c.errors(string.dump(function() end))[1])
  end)

  it("raises an error", function()
    assert.matches("^4: attempt to index", error_of "local t\nreturn t.x.y")
    assert.equal("3: boom", error_of 'error "boom"')
    assert.equal("conf/x.lua: an error was raised: a table", error_of "error {}")
    assert.equal("3: no luck", error_of 'local function f() error("no luck", 2) end f()')
  end)

  it("returns something else", function()
    assert.equal("3: expected the file to return puerta.config { ... }, got 5", error_of "return 5")
    assert.equal("3: expected the file to return puerta.config { ... }, got a table", error_of "return { workers = 1 }")
    assert.equal("3: expected the file to return puerta.config { ... }, got puerta.redis", error_of 'return puerta.redis { bind = "*:1" }')
    assert.equal("3: expected the file to return puerta.config { ... }, got nil", error_of "")
    assert.equal("4: puerta.config: expected one table of options, got 5", error_of "\nreturn puerta.config(5)")
  end)

  it("never ends", function()
    assert.matches("^3: no end after 50 million instructions", error_of "while true do end")
    assert.matches("^3: no end after 50 million instructions", error_of "local function f() return f() end f()")
    assert.matches("^3: no end after 50 million instructions", error_of 'for i = 1, 1e18 do string.len "x" end')
    assert.matches("^3: more than 256 MiB of memory", error_of "local t = {} for i = 1, 1e18 do t[i] = { i, i, i, i, i, i, i, i } end")
  end)
end)

describe("within reach", function()
  it("is nothing that acts on the world", function()
    for _, name in ipairs { "io", "os", "debug", "package", "ffi", "jit", "dofile", "loadfile", "load", "loadstring", "setfenv", "getfenv", "setmetatable",
      "getmetatable", "rawset", "print", "pcall", "coroutine", "collectgarbage", "newproxy", "module", "_G" } do
      assert.matches("^3: " .. name .. " is not defined in a configuration", error_of("local x = " .. name))
    end
    assert.matches("^3: a configuration can only require", error_of 'require "ffi"')
    assert.equal("3: workers: declare it local", error_of "workers = 4")
    assert.matches("^3: ", error_of "local x = string.dump(function() end)")
    assert.matches("^3: ", error_of "math.randomseed(1)")
    assert.equal("3: puerta cannot be changed", error_of "puerta.redis = nil")
  end)

  it("is named when it is missed", function()
    assert.equal('3: puerta has no "redsi" (did you mean "redis"?)', error_of "puerta.redsi {}")
    assert.equal('3: env has no "itn" (did you mean "int"?)', error_of 'env.itn "X"')
    assert.matches('^3: tonumer is not defined in a configuration %(did you mean "tonumber"%?%)', error_of 'tonumer "1"')
  end)

  it("leaves no trace in the next run", function()
    assert.equal("3: x is not defined in a configuration", error_of "local y = x")
    local strings = 'local s = string; s.len = nil; s.upper = function() return "x" end '
    c.load(HEAD .. strings .. 'return puerta.config { listeners = { puerta.redis { bind = "*:1", nodes = { "a:1" } } } }')
    assert.equal("A", ("a"):upper())
    assert.equal(1, #c.errors(HEAD .. "local x = string.len + nil"))
    assert.is_nil(debug.gethook())
  end)
end)

describe("env", function()
  local function value_of(expression, env)
    return c.load(HEAD .. ("local v = %s\nreturn puerta.config { workers = v, listeners = { puerta.redis { bind = '*:1', nodes = { 'a:1' } } } }"):format(expression), env).workers
  end

  it("int", function()
    assert.equal(3, value_of('env.int("N")', { N = "3" }))
    assert.equal(4, value_of 'env.int("N", 4)')
    assert.equal(4, value_of('env.int("N", 4)', { N = "" }))
    for _, text in ipairs { "x", "1.5", "0x10", "1e3", " 1", "99999999999999999999" } do
      assert.equal(('3: environment variable N: expected an integer, got "%s"'):format(text), error_of('local v = env.int "N"\nreturn puerta.config { listeners = v }', { N = text }))
    end
  end)

  it("bool", function()
    for text, n in pairs { ["true"] = 1, YES = 1, on = 1, ["1"] = 1, ["false"] = 2, no = 2, Off = 2, ["0"] = 2 } do
      assert.equal(n, value_of('env.bool("B") and 1 or 2', { B = text }))
    end
    assert.equal(2, value_of 'env.bool("B", false) and 1 or 2')
    assert.equal('3: environment variable B: expected true or false, got "maybe"', error_of('local v = env.bool "B" return puerta.config { listeners = v }', { B = "maybe" }))
  end)

  it("string and list", function()
    assert.equal(5, value_of('#env.string("S")', { S = "abcde" }))
    local l = c.listener('nodes = env.list("L", { "a:1" })', { L = "b:1, c:2,,d:3 " })
    assert.equal("d", l.nodes[3].host)
    assert.equal(3, #l.nodes)
    assert.equal("a", c.listener('nodes = env.list("L", { "a:1" })').nodes[1].host)
  end)

  it("names every missing variable, and goes on", function()
    assert.same({
      "3: environment variable A is not set",
      "4: environment variable B is not set",
      '5: environment variable C: expected an integer, got "x"',
      '7: unknown option "x"',
    }, c.errors(HEAD .. [[
local a = env.string "A" .. ":6379"
local b = env.int "B" + 1
local c = env.int "C"
return puerta.config { workers = b, listeners = { puerta.redis { bind = a, nodes = { a }, max_redirects = c, auth = { password = a } } },
  x = 1 }]], { C = "x" }))
  end)

  it("wants a sensible call", function()
    assert.equal("3: env.int: expected the name of a variable, got nil", error_of "local v = env.int()\nreturn puerta.config { listeners = v }")
    assert.equal('3: env.int("N"): expected an integer as default, got "4"', error_of 'local v = env.int("N", "4")\nreturn puerta.config { listeners = v }')
  end)
end)

describe("secrets", function()
  local auth = 'auth = { password = %s }'

  it("come from the environment and from files", function()
    assert.equal("hush", c.listener(auth:format 'env.secret "S"', { S = "hush" }).auth[1].password)
    assert.equal("a-hush", c.listener(auth:format '"a-" .. env.secret "S"', { S = "hush" }).auth[1].password)
    assert.equal("pale", c.listener(auth:format 'env.secret("S", "pale")').auth[1].password)
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write "from file \n"
    file:close()
    assert.equal("from file ", c.listener(auth:format(("env.file %q"):format(path))).auth[1].password)
    os.remove(path)
    assert.equal(("6: env.file: %s: No such file or directory"):format(path), c.errors(c.redis(auth:format(("env.file %q"):format(path))))[1])
    assert.equal("6: env.file: conf/relative: No such file or directory", c.errors(c.redis(auth:format 'env.file "relative"'))[1])
  end)

  it("are shown nowhere", function()
    local env = { S = "hush hush" }
    local function said(body) return table.concat(c.errors(HEAD .. body .. "\nreturn puerta.config {}", env), "\n") end
    for _, body in ipairs { 'error(env.secret "S")', 'error("x" .. env.secret "S")', 'local t = tostring(env.secret "S")', 'local t = ("%s"):format(env.secret "S")',
      'local t = env.secret "S" .. {}', 'local t = env.secret("S").x', 'local t = env.secret("S") + 1', 'assert(false, env.secret "S")',
      'puerta.redis { env.secret "S" }', 'local t = puerta[env.secret "S"]', 'local t = string[env.secret "S"]', 'require(env.secret "S")' } do
      assert.is_nil(said(body):find("hush", 1, true), body)
    end
    for _, body in ipairs { 'name = env.secret "S"', 'slot_refresh = env.secret "S"', 'policy = env.secret "S"', 'policy = puerta.policy("c", { env.secret "S" })',
      'nodes = { env.secret "S" }', "remap = { [env.secret 'S'] = 'a:1' }", "auth = { user = env.secret 'S', password = 'x' }" } do
      local text = table.concat(c.errors(c.redis(body), env), "\n")
      assert.is_nil(text:find("hush", 1, true), body)
      assert.matches("secret", text)
    end
  end)

  it("are masked in the dump", function()
    local dump = c.dump(c.redis 'auth = { password = env.secret "S" }, backend_auth = { user = "u", password = "plain hush" }', { S = "hush" })
    assert.is_nil(dump:find("hush", 1, true))
    assert.matches('auth = { { user = "default", password = "***" } }', dump, 1, true)
    assert.matches('backend_auth = { user = "u", password = "***" }', dump, 1, true)
  end)
end)
