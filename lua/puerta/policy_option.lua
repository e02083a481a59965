--- The option `policy`: a name, or puerta.policy(name, options). Comes out as { name =, opts = Lua expression, line =, source = as written }.

local literal = require "puerta.literal"
local suggest = require "puerta.suggest"
local value = require "puerta.value"

local M = {}

M.built_in = { "slot_owner", "read_replica", "read_near", "c" }
M.name = 'policy: `"name"` or `puerta.policy(name, options)`'
M.editor = "string|puerta.policy"

local function check_name(name, at)
  if type(name) ~= "string" then
    return at:fail("expected the name of a policy, got " .. value.describe(name))
  end
  if name:find "%.lua$" then
    if name:find "%c" then return at:fail "expected a path without control characters" end
    local path = at.context.resolve(name)
    local readable, why = at.context.readable(path)
    if not readable then return at:fail(why) end
    return path
  end
  for _, known in ipairs(M.built_in) do
    if name == known then return name end
  end
  at:fail(('unknown policy %s%s; a file of your own ends in ".lua"'):format(value.describe(name), suggest.hint(name, M.built_in)))
end

local function check_options(opts, at)
  if opts == nil then return "{}" end
  if not value.is_table(opts) then
    if opts ~= value.invalid then at:fail("expected a table of options, got " .. value.describe(opts)) end
    return nil
  end
  return literal.expression(opts, at)
end

function M.check(v, at)
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
  local path, expression = check_name(name, here), check_options(opts, options_at)
  return path and expression and { name = path, opts = expression, line = here.line, source = name }
end

function M.show(policy)
  if policy.opts == "{}" then return value.quote(policy.source) end
  return ("puerta.policy(%s, %s)"):format(value.quote(policy.source), policy.opts)
end

return M
