--- A configuration file, from its text to the effective tree: run, validated, defaults filled in. What C and the specs call.

local at = require "puerta.at"
local sandbox = require "puerta.sandbox"
local schema = require "puerta.schema"
local tls = require "puerta.schema_tls"
local value = require "puerta.value"

local M = {}

local LARGEST = 2 ^ 20 -- bytes of a configuration
local LARGEST_SECRET = 65536

-- The text of a file; nil and why, with the path.
local function read(path, most)
  local file, why = io.open(path, "rb")
  if not file then return nil, why end
  local text, failed = file:read(most + 1)
  file:close()
  if failed then return nil, ("%s: %s"):format(path, failed) end
  text = text or ""
  if #text > most then return nil, ("%s: larger than %d bytes"):format(path, most) end
  return text
end

local function directory(path) return path:match "^(.*/)" or "" end

-- Collects errors and shows them all, ordered by line.
local function collector(file)
  local errors = {}
  local c = {}
  function c.fail(line, message) errors[#errors + 1] = { line = line or 0, n = #errors, text = message } end
  function c.any() return #errors > 0 end
  function c.text()
    table.sort(errors, function(a, b)
      if a.line ~= b.line then return a.line < b.line end
      return a.n < b.n
    end)
    local lines = {}
    for i, e in ipairs(errors) do
      lines[i] = e.line > 0 and ("%s:%d: %s"):format(file, e.line, e.text) or ("%s: %s"):format(file, e.text)
    end
    lines[#lines + 1] = ("%d error%s; configuration not applied"):format(#errors, #errors == 1 and "" or "s")
    return table.concat(lines, "\n")
  end
  return c
end

--- Loads file. options, all optional: text (instead of what is in the file), getenv(name).
-- Returns the effective tree; nil and the errors, one a line, with their number at the end.
function M.load(file, options)
  options = options or {}
  local errors = collector(file)
  local text, why = options.text, nil
  if not text then text, why = read(file, LARGEST) end
  if not text then
    errors.fail(nil, why:gsub("^" .. file:gsub("%p", "%%%0") .. ": ", ""))
    return nil, errors.text()
  end
  local function resolve(path) return path:find "^/" and path or directory(file) .. path end
  local result, line = sandbox.run(text, {
    fail = errors.fail,
    getenv = options.getenv or os.getenv,
    read_file = function(path) return read(resolve(path), LARGEST_SECRET) end,
  })
  if not line then return nil, errors.text() end -- it did not come to its end
  local context = { fail = errors.fail, resolve = resolve, readable = function(path) return read(path, LARGEST) end }
  local place = at.new(context, line)
  local node = value.as_node(result)
  if not node or node.kind ~= "config" then
    if result ~= value.invalid then place:fail("expected the file to return puerta.config { ... }, got " .. value.describe(result)) end
    return nil, errors.text()
  end
  local tree = schema.root.check(result, place)
  if errors.any() then return nil, errors.text() end
  return tree
end

local HEAD = [[
-- The effective configuration of %s.
local puerta = require "puerta"

return %s
]]

--- The effective configuration as text that is a configuration again; secrets are shown as "***". As load. base: directory (ending in "/") that
-- relative paths in it are resolved against, so that the text means the same elsewhere.
function M.dump(file, options)
  local tree, errors = M.load(file, options)
  if not tree then return nil, errors end
  local base = options and options.base
  for _, listener in ipairs(tree.listeners) do
    local policy = listener.policy or listener.affinity
    if base and policy and policy.source:find "%.lua$" and not policy.source:find "^/" then policy.source = base .. policy.source end
    if base then tls.absolute(listener, base) end
  end
  for _, log in ipairs { tree.log, tree.log.access } do
    local to = log.to
    if base and to and to:find "/" and not to:find "^/" and not to:find "^%a+:" then log.to = base .. to end
  end
  return HEAD:format(file:gsub("%c", "?"), schema.root.show(tree, 0))
end

return M
