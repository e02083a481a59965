--- The command line as src/cli_options.h and src/ctl/commands.h have it: their lines are calls to Lua as well.

local M = { usage = {}, options = {}, choices = {}, signals = {}, environment = {}, status = {}, ctl = { commands = {}, options = {} } }

local function collect(list)
  return function(name, text) list[#list + 1] = { name = name, text = text } end
end

local function described(list)
  return function(name, argument, text) list[#list + 1] = { name = name, argument = argument ~= 0 and argument or nil, text = text } end
end

local calls = {
  CTL = described(M.ctl.commands), CTL_OPTION = described(M.ctl.options),
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
-- A name that is no call, like an option's id, stands for itself.
local function run(path)
  local text = read(path):gsub("/%*.-%*/", ""):gsub("%f[^\n%z]#[^\n]*", ""):gsub('"%s*\n%s*"', "")
  setfenv(assert(loadstring(text, "=" .. path)), setmetatable(calls, { __index = function(_, id) return id end }))()
end
run "src/cli_options.h"
run "src/ctl/commands.h"

M.version = assert(read "src/base/version.h":match '#define PT_VERSION "(.-)"')

return M
