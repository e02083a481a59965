--- The options `policy` of Redis listeners and `affinity` of MongoDB listeners: a name, or puerta.policy(name, options). Comes out as
-- { name =, opts = Lua expression, line =, source = as written }.

local literal = require "puerta.literal"
local suggest = require "puerta.suggest"
local value = require "puerta.value"

local M = {}

local function check_path(name, at)
  if name:find "%c" then return at:fail "expected a path without control characters" end
  local path = at.context.resolve(name)
  local readable, why = at.context.readable(path)
  if not readable then return at:fail(why) end
  return path
end

local function check_name(t, name, at)
  if type(name) ~= "string" then
    return at:fail(("expected the name of %s, got %s"):format(t.article, value.describe(name)))
  end
  if name:find "%.lua$" then return check_path(name, at) end
  for _, known in ipairs(t.built_in) do
    if name == known then return name end
  end
  for _, other in ipairs(t.other.built_in) do
    if name == other then return at:fail(("%s is %s, for %s listeners"):format(value.describe(name), t.other.article, t.other.listeners)) end
  end
  at:fail(('unknown %s %s%s; a file of your own ends in ".lua"'):format(t.what, value.describe(name), suggest.hint(name, t.built_in)))
end

local function check_options(opts, at)
  if opts == nil then return "{}" end
  if not value.is_table(opts) then
    if opts ~= value.invalid then at:fail("expected a table of options, got " .. value.describe(opts)) end
    return nil
  end
  return literal.expression(opts, at)
end

local function check(t, v, at)
  if v == value.invalid then return nil end
  local node = value.as_node(v)
  if node and node.kind ~= "policy" or not node and type(v) ~= "string" then
    return at:fail(("expected a name or puerta.policy(name, options), got %s"):format(value.describe(v)))
  end
  local name, opts = v, nil
  local here, options_at = at, at
  if node then
    name, opts = node.args[1], node.args[2]
    here, options_at = at:node(node, 1), at:node(node, 2)
    if node.args.n < 1 or node.args.n > 2 then return here:fail "puerta.policy: expected a name and a table of options" end
    if value.is_table(name) then return here:fail 'puerta.policy: expected a name, got a table (write puerta.policy("name", { ... }))' end
  end
  if name == value.invalid then return nil end
  local path, expression = check_name(t, name, here), check_options(opts, options_at)
  return path and expression and { name = path, opts = expression, line = here.line, source = name }
end

local function show(policy)
  if policy.opts == "{}" then return value.quote(policy.source) end
  return ("puerta.policy(%s, %s)"):format(value.quote(policy.source), policy.opts)
end

local function option(what, article, listeners, built_in)
  local t = { what = what, article = article, listeners = listeners, built_in = built_in, editor = "string|puerta.policy", show = show }
  t.name = ('%s: `"name"` or `puerta.policy(name, options)`'):format(what)
  function t.check(v, at) return check(t, v, at) end
  return t
end

M.route = option("policy", "a policy", "Redis", { "slot_owner", "read_replica", "read_near", "c" })
M.affinity = option("affinity", "an affinity", "MongoDB", { "hybrid", "fingerprint", "session_id", "socket_addr" })
M.route.other, M.affinity.other = M.affinity, M.route

return M
