-- The options tls and backend_tls of listeners: what C gets, and what the errors say. What the files hold is checked in C.
local c = require "spec.support.config"

local dir = os.tmpname()
os.remove(dir)
assert(os.execute("mkdir " .. dir) == 0)
for _, name in ipairs { "a.pem", "b.pem", "ca.pem" } do
  local file = assert(io.open(dir .. "/" .. name, "w"))
  file:write "x"
  file:close()
end
teardown(function() os.execute("rm -r " .. dir) end)

local function at(name) return ("%q"):format(dir .. "/" .. name) end
local function pair(more) return ("{ cert = %s, key = %s%s }"):format(at "a.pem", at "b.pem", more or "") end
local function error_of(body)
  local errors = c.errors(c.redis(body))
  assert.equal(1, #errors, table.concat(errors, "\n"))
  return (errors[1]:match '^6: listener "redis%-6379": (.*)$' or errors[1])
end

describe("tls", function()
  it("has defaults", function()
    local l = c.listener("tls = " .. pair() .. ", backend_tls = {},")
    assert.same({ path = dir .. "/a.pem", source = dir .. "/a.pem" }, l.tls.cert)
    assert.same({ "none", "1.2", true, 10000, 6 }, { l.tls.client_auth, l.tls.min_version, l.tls.session_tickets, l.tls.handshake_timeout, l.tls.line })
    assert.is_nil(l.tls.ca)
    assert.same({ ca = "system", verify = true, min_version = "1.2", line = 6 }, l.backend_tls)
  end)

  it("exists for MongoDB", function()
    local l = c.load(c.mongodb("tls = " .. pair() .. ', backend_tls = { server_name = "m.test" },')).listeners[1]
    assert.equal("m.test", l.backend_tls.server_name)
    assert.equal(dir .. "/b.pem", l.tls.key.path)
  end)

  it("has certificates by name", function()
    local sni = c.listener(('tls = %s,'):format(pair((', sni = { ["*.b.test"] = %s, ["a.test"] = %s }'):format(pair(), pair())))).tls.sni
    assert.same({ "*.b.test", "a.test" }, { sni[1].name, sni[2].name })
    assert.equal(dir .. "/a.pem", sni[2].value.cert.path)
  end)

  it("is dumped as it can be read again", function()
    local text = c.dump(c.redis(('tls = %s, backend_tls = { ca = %s, verify = false },'):format(pair ', min_version = "1.3"', at "ca.pem")), nil, "/base/")
    assert.truthy(text:find("cert = " .. at "a.pem", 1, true))
    assert.truthy(text:find("ca = " .. at "ca.pem", 1, true))
    assert.equal(text, c.dump(text, nil, "/base/"))
  end)
end)

describe("an error of tls", function()
  it("names what is missing", function()
    assert.equal('tls: missing option "key"', error_of(("tls = { cert = %s },"):format(at "a.pem")))
    assert.equal("tls.client_auth: expected ca with client_auth: who issues the certificates of clients?", error_of(("tls = %s,"):format(pair ', client_auth = "optional"')))
    assert.equal("backend_tls.cert: expected cert and key, or neither", error_of(("backend_tls = { cert = %s },"):format(at "a.pem")))
  end)

  it("names the file", function()
    assert.equal(("tls.key: %s/nowhere: No such file or directory"):format(dir), error_of(("tls = { cert = %s, key = %s },"):format(at "a.pem", at "nowhere")))
    assert.equal("backend_tls.ca: expected the path of a file, got 3", error_of "backend_tls = { ca = 3 },")
  end)

  it("names the option", function()
    assert.equal('tls.min_version: expected "1.2" or "1.3", got "1.1" (did you mean "1.2"?)', error_of(("tls = %s,"):format(pair ', min_version = "1.1"')))
    assert.equal('tls: unknown option "certs" (did you mean "cert"?)', error_of(("tls = %s,"):format(pair ", certs = 1")))
    for _, name in ipairs { "a*.test", "*", "*.*.test", "", "-a" } do
      assert.equal(('tls.sni[%q]: expected a host name, or one that begins with *., got %q'):format(name, name), error_of(("tls = %s,"):format(pair((", sni = { [%q] = %s }"):format(name, pair())))))
    end
  end)
end)
