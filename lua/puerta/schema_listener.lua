--- What listeners of all kinds have in common: options, labels, users.

local address = require "puerta.address"
local shape = require "puerta.shape"
local types = require "puerta.types"
local value = require "puerta.value"

local M = {}

function M.bind(port) return { "bind", type = types.bind(port), required = true, restart = true, doc = "where clients connect" } end

function M.name(kind)
  local function default(options) return options.bind and ("%s-%d"):format(kind, options.bind.port) end
  return { "name", type = types.name(), default = default, default_doc = ('`"%s-<port>"`'):format(kind), restart = true, doc = "what logs call this listener" }
end

M.backlog = { "backlog", type = types.integer(1, 65535), default = 1024, restart = true, doc = "connections the kernel holds until they are accepted" }

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
