--- The types made of others: lists, maps, closed tables of options, constructors. Same interface as in types.lua; show takes an indentation too.
--
-- A closed table has options, each { name, type, default = as written in a file, required = true, restart = true, doc = text }: an option is hot
-- (a reload changes it) unless it says restart. Options without value and default are absent from the result.

local suggest = require "puerta.suggest"
local value = require "puerta.value"

local M = {}

-- What a wrong value is called, when a table is needed.
local function no_table(v, expected, at)
  if v ~= value.invalid then at:fail(("expected %s, got %s"):format(expected, value.describe(v))) end
  return nil
end

local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b) return value.describe(a) < value.describe(b) end)
  return keys
end

local function indent(depth) return ("  "):rep(depth) end

-- { a, b } on one line when short, else an element a line.
local function braces(parts, depth)
  local line = "{ " .. table.concat(parts, ", ") .. " }"
  if #parts == 0 then return "{}" end
  if #line <= 90 and not line:find "\n" then return line end
  return "{\n" .. indent(depth + 1) .. table.concat(parts, ",\n" .. indent(depth + 1)) .. ",\n" .. indent(depth) .. "}"
end

--- A list of at least one and at most max elements. example: what to say instead of a single value.
function M.list(of, max, example)
  local t = { name = "list of " .. of.name, editor = ("(%s)[]"):format(of.editor), of = of }
  function t.check(v, at)
    if not value.is_table(v) then return no_table(v, "a list" .. (example and " like " .. example or ""), at) end
    local result, n = {}, #v
    for _, key in ipairs(sorted_keys(v)) do
      if type(key) ~= "number" or key % 1 ~= 0 or key < 1 or key > n then at:key(key):fail "expected a list without names and holes" end
    end
    if n == 0 and next(v) == nil then at:fail "expected at least one element" end
    if n > max then return at:fail(("expected at most %d elements, got %d"):format(max, n)) end
    for i = 1, n do
      result[#result + 1] = of.check(v[i], at:key(i))
    end
    return result
  end
  function t.show(list, depth)
    local parts = {}
    for i, element in ipairs(list) do
      parts[i] = of.show(element, depth + 1)
    end
    return braces(parts, depth)
  end
  return t
end

--- [from] = to, both of one type; comes out as a list of { from =, to = }, ordered by the text of from.
function M.map(of)
  local t = { name = ("table of %s = %s"):format(of.name, of.name), editor = ("table<%s, %s>"):format(of.editor, of.editor) }
  function t.check(v, at)
    if not value.is_table(v) then return no_table(v, "a table", at) end
    local result = {}
    for _, key in ipairs(sorted_keys(v)) do
      local from, to = of.check(key, at:key(key)), of.check(v[key], at:key(key))
      if from and to then result[#result + 1] = { from = from, to = to } end
    end
    return result
  end
  function t.show(list, depth)
    local parts = {}
    for i, pair in ipairs(list) do
      parts[i] = ("[%s] = %s"):format(of.show(pair.from), of.show(pair.to))
    end
    return braces(parts, depth)
  end
  return t
end

--- ["name"] = value; comes out as a list of { name =, value = }, ordered by name. names: the type of the names.
function M.named(names, of, max)
  local t = { name = ("table of name = %s"):format(of.name), editor = ("table<string, %s>"):format(of.editor), of = of }
  function t.check(v, at)
    if not value.is_table(v) then return no_table(v, "a table", at) end
    local result = {}
    for _, key in ipairs(sorted_keys(v)) do
      local name, element = names.check(key, at:key(key)), of.check(v[key], at:key(key))
      if name and element then result[#result + 1] = { name = name, value = element } end
    end
    if #result > max then return at:fail(("expected at most %d names, got %d"):format(max, #result)) end
    return result
  end
  function t.show(list, depth)
    local parts = {}
    for i, pair in ipairs(list) do
      parts[i] = ("[%s] = %s"):format(names.show(pair.name), of.show(pair.value, depth + 1))
    end
    return braces(parts, depth)
  end
  return t
end

local function option_names(options)
  local names = {}
  for _, option in ipairs(options) do
    if type(option[1]) == "string" then names[#names + 1] = option[1] end
  end
  return names
end

local function report_unknown(v, t, at)
  for _, key in ipairs(sorted_keys(v)) do
    local where = at:key(key)
    where.path = at.path
    if type(key) ~= "string" then
      where:fail(("unexpected value %s: options have names"):format(value.describe(v[key])))
    elseif t.not_yet[key] then
      where:fail(("option %s is not built yet; remove it"):format(value.describe(key)))
    elseif not t.known[key] then
      where:fail(("unknown option %s%s"):format(value.describe(key), suggest.hint(key, option_names(t.options))))
    end
  end
  for _, twice in ipairs(at.text and at.text.twice or {}) do
    local where = at:key(twice.key)
    where.line = twice.line
    where:fail(("given twice, first on line %d"):format(twice.first))
  end
end

--- A closed table. fields: options; one may have a number as name (a positional value). rule(result, at): what the options must be together; those
-- with an error are absent. not_yet: names that are refused politely.
function M.group(fields)
  local t = { name = "table", options = fields.options, known = {}, not_yet = fields.not_yet or {}, rule = fields.rule, editor = fields.editor }
  for _, option in ipairs(t.options) do
    t.known[option[1]] = option
  end
  -- The key of a positional value is its number: told apart from the unknown ones before they are reported.
  local function named_part(v)
    local rest = {}
    for key, element in pairs(v) do
      if not (type(key) == "number" and t.known[key]) then rest[key] = element end
    end
    return rest
  end

  function t.check(v, at)
    if not value.is_table(v) then return no_table(v, "a table of options", at) end
    report_unknown(named_part(v), t, at)
    local result = {}
    for _, option in ipairs(t.options) do
      local name, given = option[1], v[option[1]]
      if given ~= nil then
        result[name] = option.type.check(given, at:key(name))
      elseif option.required then
        at:fail("missing " .. (option.missing or ("option %s"):format(value.describe(name))))
      elseif option.default ~= nil then
        local default = option.default
        if type(default) == "function" then default = default(result) end
        if default ~= nil then result[name] = option.type.check(default, at:key(name)) end
      end
    end
    if t.rule then t.rule(result, at) end
    return result
  end

  function t.show(result, depth)
    local parts = {}
    for _, option in ipairs(t.options) do
      local name, v = option[1], result[option[1]]
      if v ~= nil then
        local text = option.type.show(v, depth + 1)
        parts[#parts + 1] = type(name) == "number" and text or ("%s = %s"):format(name, text)
      end
    end
    return braces(parts, depth)
  end
  return t
end

--- What puerta.<kind> {...} makes, for one or several kinds. kinds: kind -> { group =, label(options) = what messages call it }
-- The result is the group's, with kind and line added.
function M.constructed(kinds)
  local names = {}
  for _, kind in ipairs(sorted_keys(kinds)) do
    names[#names + 1] = "puerta." .. kind
  end
  local expected = table.concat(names, " or ")
  local t = { name = "`" .. table.concat(names, "`, `") .. "`", editor = table.concat(names, "|"), kinds = kinds }
  function t.check(v, at)
    local node = value.as_node(v)
    local known = node and kinds[node.kind]
    if not known then
      local hint = value.is_table(v) and (" (write %s { ... })"):format(names[#names]) or ""
      return no_table(v, expected, { fail = function(_, message) at:fail(message .. hint) end })
    end
    local options = node.args[1]
    if node.args.n ~= 1 or not value.is_table(options) then
      local got = node.args.n ~= 1 and ("%d arguments"):format(node.args.n) or value.describe(options)
      return at:node(node, 1):fail(("puerta.%s: expected one table of options, got %s"):format(node.kind, got))
    end
    local here = at:node(node, 1, known.label(options, at))
    local result = known.group.check(options, here)
    result.kind, result.line = node.kind, node.line
    return result
  end
  function t.show(result, depth) return ("puerta.%s %s"):format(result.kind, kinds[result.kind].group.show(result, depth)) end
  return t
end

return M
