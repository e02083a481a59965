--- The command line as src/cli_options.h has it: its lines are calls to Lua as well.

local M = { usage = {}, options = {}, choices = {}, signals = {}, environment = {}, status = {} }

local function collect(list)
  return function(name, text) list[#list + 1] = { name = name, text = text } end
end

local calls = {
  USAGE = collect(M.usage), SIGNAL = collect(M.signals), ENVIRONMENT = collect(M.environment), STATUS = collect(M.status),
  CHOICES = function(argument, words) M.choices[argument] = words end,
  OPTION = function(_, letter, name, argument, text)
    M.options[#M.options + 1] = { letter = letter ~= 0 and letter or nil, name = name, argument = argument ~= 0 and argument or nil, text = text }
  end,
}

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

-- Without comments and lines of the preprocessor; strings that clang-format has cut are joined.
local text = read "src/cli_options.h":gsub("/%*.-%*/", ""):gsub("%f[^\n%z]#[^\n]*", ""):gsub('"%s*\n%s*"', "")
-- An option's id is a name that Lua does not know.
setfenv(assert(loadstring(text, "=src/cli_options.h")), setmetatable(calls, { __index = function(_, id) return id end }))()

M.version = assert(read "src/base/version.h":match '#define PT_VERSION "(.-)"')

return M
