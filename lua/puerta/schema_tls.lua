--- The options `tls` and `backend_tls` of listeners. See schema.lua.

local shape = require "puerta.shape"
local types = require "puerta.types"
local value = require "puerta.value"

local M = {}

local NAME = 253 -- bytes of a host name

local version = { "min_version", type = types.enum { "1.2", "1.3" }, default = "1.2", doc = "the oldest TLS version that is spoken" }
local ciphers = { "ciphers", type = types.text(1024), default_doc = "OpenSSL's", doc = "ciphers of TLS 1.2, as `openssl ciphers` takes them" }
local ciphersuites = { "ciphersuites", type = types.text(1024), default_doc = "OpenSSL's", doc = "cipher suites of TLS 1.3, separated by colons" }

-- "db.example.com", "*.example.com"
local function host_pattern()
  local t = { name = "host name", editor = "string", show = value.quote }
  function t.check(v, at)
    if type(v) == "string" and #v <= NAME and v:find "^[%w*][%w._-]*$" and not v:find("*", 2, true) and (v:sub(1, 1) ~= "*" or v:find "^%*%.%w") then
      return v
    end
    at:fail(("expected a host name, or one that begins with *., got %s"):format(value.describe(v)))
  end
  return t
end

-- A CA: a file, or what the system trusts, which comes out as nothing.
local function authority()
  local file = types.file()
  local t = { name = '`"system"` or path', editor = "string" }
  function t.show(ca) return ca == "system" and '"system"' or file.show(ca) end
  function t.check(v, at)
    if v == "system" then return v end
    return file.check(v, at)
  end
  return t
end

-- A group that knows its line, for messages about what its files hold.
local function with_line(group)
  local check = group.check
  function group.check(v, at)
    local result = check(v, at)
    if result then result.line = at.line end
    return result
  end
  return group
end

local pair = shape.group {
  editor = "puerta.tls.pair",
  options = {
    { "cert", type = types.file(), required = true, doc = "PEM file: the certificate, then those between it and the CA" },
    { "key", type = types.file(), required = true, doc = "PEM file: its private key, without a passphrase" },
  },
}

local tls = with_line(shape.group {
  editor = "puerta.tls",
  options = {
    pair.options[1],
    pair.options[2],
    { "ca", type = types.file(), doc = "PEM file: who issues the certificates of clients" },
    { "client_auth", type = types.enum { "none", "optional", "required" }, default = "none",
      doc = "`optional`: a certificate that a client shows has to be good; `required`: it has to show one. Needs `ca`" },
    version, ciphers, ciphersuites,
    { "session_tickets", type = types.boolean(), default = true,
      doc = "clients may resume their sessions for an hour, with any worker and after a reload; the keys are those of this process" },
    { "handshake_timeout", type = types.duration({ "100ms", "10m" }, "10s"), default = "10s", doc = "a client has to be done with its handshake within" },
    { "sni", type = shape.named(host_pattern(), pair, 256),
      doc = 'other certificates by the name that clients ask for: `["db.example.com"] = { cert =, key = }`; `"*.example.com"` is every name right below' },
  },
  rule = function(t, at)
    if t.client_auth and t.client_auth ~= "none" and not t.ca then at:key("client_auth"):fail "expected ca with client_auth: who issues the certificates of clients?" end
  end,
})

local backend_tls = with_line(shape.group {
  editor = "puerta.backend_tls",
  options = {
    { "ca", type = authority(), default = "system", doc = "who issues the certificates of backends: a PEM file, or those the system trusts" },
    { "cert", type = types.file(), doc = "PEM file: the certificate shown to backends, for those that ask for one" },
    { "key", type = types.file(), doc = "PEM file: its private key" },
    { "server_name", type = types.text(NAME), default_doc = "the backend's own name or address",
      doc = "the name every backend's certificate has to be for, and that is asked for by SNI; needed where nodes are known by addresses that their certificates do not name" },
    { "verify", type = types.boolean(), default = true, doc = "`false`: backends' certificates are not looked at" },
    version, ciphers, ciphersuites,
  },
  rule = function(t, at)
    if not t.cert ~= not t.key then at:key(t.cert and "cert" or "key"):fail "expected cert and key, or neither" end
  end,
})

M.options = {
  { "tls", type = tls, default_doc = "none: clients are not encrypted", doc = "TLS for clients; files are read again by a reload, connections that are open live on" },
  { "backend_tls", type = backend_tls, default_doc = "none: backends are not encrypted", doc = "TLS to the backends, `backend_tls = {}` suffices where the system knows their CA; a reload counts for new connections" },
}

M.groups = {
  { "tls", tls, doc = "In `puerta.redis` and `puerta.mongodb`." },
  { "sni of tls", pair, doc = "In `tls`." },
  { "backend_tls", backend_tls, doc = "In `puerta.redis` and `puerta.mongodb`." },
}

-- Files of a listener that `--dump` shows with an absolute path.
function M.absolute(listener, base)
  local function fix(t)
    for _, name in ipairs { "cert", "key", "ca" } do
      local file = t and t[name]
      if type(file) == "table" and not file.source:find "^/" then file.source = base .. file.source end
    end
  end
  fix(listener.tls)
  fix(listener.backend_tls)
  for _, other in ipairs(listener.tls and listener.tls.sni or {}) do
    fix(other.value)
  end
end

return M
