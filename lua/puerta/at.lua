--- A place in a configuration: what is being validated, where it stands in the file, how messages call it.
--
--    at:fail(text)      records "file:line: listener "cache": auth[2].password: text"
--    at:key(key)        the place of a field of the table that stands here
--    at:node(n, i, label)  the place of a constructor's argument i

local value = require "puerta.value"

local M = {}
M.__index = M

--- The root. context: what all places share: fail(line, message) records an error; what else validation needs of the outside (see config.lua).
function M.new(context, line) return setmetatable({ context = context, line = line, label = "", path = "" }, M) end

local function derive(at, line, text, label, path)
  return setmetatable({ context = at.context, line = line or at.line, text = text, label = label, path = path }, M)
end

function M:fail(message)
  self.context.fail(self.line, self.label .. (self.path ~= "" and self.path .. ": " or "") .. message)
end

function M:key(key)
  local field = self.text and self.text.fields[key]
  local name = type(key) == "number" and ("[%d]"):format(key)
    or type(key) == "string" and key:find "^[%a_][%w_]*$" and (self.path == "" and key or "." .. key)
    or ("[%s]"):format(value.describe(key))
  return derive(self, field and field.line, field and field.table, self.label, self.path .. name)
end

function M:node(n, argument, label)
  return derive(self, n.line, n.site and n.site.args[argument] or nil, label and label .. ": " or self.label, label and "" or self.path)
end

return M
