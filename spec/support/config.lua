--- Configurations as text, and what the loader says about them.
local config = require "puerta.config"

local M = {}

local function options(text, env)
  return { text = text, getenv = function(name) return (env or {})[name] end }
end

--- The effective tree of a text. Raises the errors when there are any.
function M.load(text, env)
  local tree, errors = config.load("conf/x.lua", options(text, env))
  return tree or error(errors, 0)
end

--- The errors of a text, one a line as "11: message", without the last line, which is checked.
function M.errors(text, env)
  local tree, errors = config.load("conf/x.lua", options(text, env))
  assert(not tree, "no error")
  local list = {}
  for line in errors:gmatch "[^\n]+" do
    list[#list + 1] = line:gsub("^conf/x%.lua:(%d)", "%1")
  end
  local expected = ("%d error%s; configuration not applied"):format(#list - 1, #list == 2 and "" or "s")
  assert(table.remove(list) == expected, errors)
  return list
end

--- The dump of a text.
function M.dump(text, env, base)
  local o = options(text, env)
  o.base = base
  local dumped, errors = config.dump("conf/x.lua", o)
  return dumped or error(errors, 0)
end

--- A file with one Redis listener, which starts on line 5; `body` are more options of it (or other nodes), from line 6 on.
function M.redis(body, top)
  local nodes = (body or ""):find "^nodes =" and "" or 'nodes = { "10.0.0.1:6379" },'
  return ([[
local puerta = require "puerta"
local env = puerta.env
return puerta.config { %s
  listeners = {
    puerta.redis { bind = "127.0.0.1:6379", %s
%s
    },
  },
}
]]):format(top or "", nodes, body or "")
end

--- The only listener of such a file.
function M.listener(body, env) return M.load(M.redis(body), env).listeners[1] end

--- The same with a MongoDB listener; `body` stands in the place of nodes, from line 6 on.
function M.mongodb(body) return (M.redis(body):gsub("puerta.redis", "puerta.mongodb"):gsub("127.0.0.1:6379", "127.0.0.1:27017")
  :gsub("nodes = %b{}", 'backends = { puerta.backend { "10.0.0.1:27017" } }')) end

--- Of the password "pencil", in the form `puerta --scram` prints.
M.VERIFIER = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

return M
