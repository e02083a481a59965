--- What listeners of all kinds have in common: options, labels, users.

local address = require "puerta.address"
local shape = require "puerta.shape"
local tls = require "puerta.schema_tls"
local types = require "puerta.types"
local value = require "puerta.value"

local M = {}

function M.bind(port) return { "bind", type = types.bind(port), required = true, restart = true, doc = "where clients connect" } end

function M.name(kind)
  local function default(options) return options.bind and ("%s-%d"):format(kind, options.bind.port) end
  return { "name", type = types.name(), default = default, default_doc = ('`"%s-<port>"`'):format(kind), restart = true, doc = "what logs call this listener" }
end

M.backlog = { "backlog", type = types.integer(1, 65535), default = 1024, restart = true, doc = "connections the kernel holds until they are accepted" }

local source_prefix = shape.group {
  editor = "puerta.source_prefix",
  options = {
    { "v4", type = types.integer(0, 32), default = 32, doc = "bits of an IPv4 address" },
    { "v6", type = types.integer(0, 128), default = 64, doc = "bits of an IPv6 address: who has one mostly has a whole /64" },
  },
}

local ranges = shape.list(types.range(), 1024, '{ "10.0.0.0/8" }')

-- Who may come in, and how many.
local admission = {
  { "max_connections", type = types.integer(0, 10000000), default = 0, doc = "clients of this listener at once; 0: no limit but that of the process" },
  { "max_per_source", type = types.integer(0, 10000000), default = 0,
    doc = "clients at once from one source; 0: no limit. Load balancers that send a PROXY header are not counted" },
  { "source_prefix", type = source_prefix, default = {}, default_doc = "see below", doc = "how much of its address makes a source" },
  { "accept_rate", type = types.integer(0, 1000000), default = 0, doc = "new clients a second; 0: no limit. More of them wait in the kernel's queue (`backlog`)" },
  { "allow", type = ranges, doc = "only clients from these addresses are let in; those that are in stay in" },
  { "deny", type = ranges, doc = "clients from these addresses are not let in, whatever `allow` says" },
}

--- A listener's own options and what all have besides.
function M.with_common(options)
  for _, option in ipairs(admission) do
    options[#options + 1] = option
  end
  for _, option in ipairs(tls.options) do
    options[#options + 1] = option
  end
  options[#options + 1] = M.backlog
  return options
end

M.groups = {
  { "source_prefix", source_prefix, doc = "In `puerta.redis` and `puerta.mongodb`." },
}

--- How messages call a listener whose options may all be wrong.
function M.label(kind, port)
  return function(options, at)
    local name = options.name
    if name == nil and type(options.bind) == "string" then
      local bind = address.parse_bind(options.bind, port)
      name = bind and ("%s-%d"):format(kind, bind.port)
    end
    return type(name) == "string" and "listener " .. value.describe(name) or at.path
  end
end

--- The users of a listener: a list of what `of` describes, with its field proof; one may be written without the list around it.
function M.users(of, proof)
  local list_of = shape.list(of, 256)
  local t = { name = ("`{ user =, %s = }`, or a list of them"):format(proof), editor = ("%s|%s[]"):format(of.editor, of.editor), show = list_of.show }
  function t.check(v, at)
    if value.is_table(v) and (v.user ~= nil or v[proof] ~= nil) then
      local one = of.check(v, at)
      return one and { one }
    end
    local list = list_of.check(v, at)
    local seen = {}
    for i, one in ipairs(list or {}) do
      if one.user and seen[one.user] then at:key(i):fail(("user %s is given twice"):format(value.describe(one.user))) end
      seen[one.user or ""] = true
    end
    return list
  end
  return t
end

return M
