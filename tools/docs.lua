--- Writes what the schema says: conf/REFERENCE.md for people, lua/meta/puerta.lua for editors; with the command line (src/cli_options.h) the manual pages and
-- the shells' completions; the page of errors from src/base/errors.def. Run by tools/docs.sh.

local cli = require "docs_cli"
local errors = require "docs_errors"
local man = require "docs_man"
local shell = require "docs_shell"
local policy = require "puerta.policy_option"
local schema = require "puerta.schema"
local value = require "puerta.value"

local INTRO = [[
<!-- Written by tools/docs.sh from lua/puerta/schema.lua. -->
# Configuration reference

A configuration is a Lua file that returns `puerta.config { ... }`. It has no side effects: besides the constructors below it can use `puerta.env` and the pure
functions of `string`, `table` and `math`. Unknown options are errors; `puerta -t FILE` shows all errors at once, `puerta --dump FILE` every option in effect.

Durations are text with a unit, `us ms s m h`: `"250ms"`. Sizes too, `B kB KiB MB MiB GB GiB`: `"16MiB"`. **hot** options change with a reload (SIGHUP),
a reload that changes a **restart** option is refused. Options without a default are off when absent, **required** ones must be there.

| environment | gives |
|---|---|
| `env.string(name [, default])`, `env.int`, `env.bool` | the variable `name`; when it is missing or empty the default, else an error |
| `env.list(name [, default])` | a list of strings, separated by commas in the variable |
| `env.secret(name [, default])` | the same as a secret: good for passwords, never shown |
| `env.file(path [, default])` | a secret read from a file, without the newline at its end; `path` is relative to the configuration |
]]

-- Behind the options. %s: the built-in policies, the built-in affinities.
local POLICIES = [[
## puerta.policy

`puerta.policy(name [, options])`: a policy and the table given to its `init`, for the options `policy` of Redis listeners and `affinity` of MongoDB
listeners. Built in for Redis: %s; for MongoDB: %s.

## affinity

What keeps a MongoDB client on one backend. A backend is chosen once and remembered for `session_timeout` after the last use; cursors and transactions stay
where they were opened, whatever an affinity says.

| affinity | a client is known by | `forward = "request"` |
|---|---|---|
| `hybrid` | its fingerprint; its address when it does not say who it is | each logical session (lsid) has a backend, requests without one follow the client |
| `fingerprint` | the same | everything follows the client |
| `session_id` | nothing; needs `forward = "request"` | each logical session has a backend, requests without one go in turn |
| `socket_addr` | its address | everything follows the client |

The **fingerprint** is taken of the application's name (`appName` in a connection string), driver, operating system and platform in the client's first message, and of
its address unless `fingerprint_ip = false`: all connections of one client have the same. Clients behind one address that differ in nothing else are told apart
by different `appName`s. The **address** counts up to `prefix`. A client with `loadBalanced=true` is placed connection by connection.

All four take the option `pick`, how a new client or session is placed: `"rendezvous"` (default: by weighted rendezvous hashing, the same in every process; a
backend that comes or goes moves its own share only; what nobody is known of goes in turn), `"round_robin"` (smooth, by weight) or `"least_connections"` (by weight;
equals by rendezvous).

An affinity of your own is a Lua file that returns a table with one or both hooks:

```lua
local puerta, pick = require "puerta", require "puerta.pick"
local policy = { sessions = false }   -- true: with forward = "request" logical sessions are placed one by one

function policy.init(opts) end        -- the table of puerta.policy; an error() here refuses the configuration

function policy.identify(conn)        -- once a connection: a key (a positive integer, a uint64_t like puerta.hash(text)), or nil: nobody
  if conn.app ~= "" then return puerta.hash(conn.app) end
  return conn.fingerprint or conn.address
end

function policy.pick(session, backends)   -- once a client or session: the index of a usable backend, or puerta.DEFAULT
  local first = backends:get(0)
  if session.kind == "request" and first.usable then return 0 end
  return pick.rendezvous(session, backends)
end

return policy
```

Without `identify` a client is known as with `hybrid`, without `pick` placed by rendezvous; so it is when a hook fails. `conn` has `app driver driver_version ip port
fingerprint address has_client load_balanced`; `session` has `key identity kind` (`"connection"`, `"session"`, `"request"`); `backends` has `n usable generation` and
`get(i)`, 0 to n-1, with `name weight effective connections inflight up usable id seed`. `puerta.pick` has `rendezvous(session, backends)`,
`least_connections(session, backends)`, and `round_robin()`, which makes such a function. An example: `scripts/examples/tenant_affinity.lua`.
]]

local function list(names) return "`" .. table.concat(names, "`, `") .. "`" end

local function default_of(option)
  if option.required then return "**required**" end
  if option.default_doc then return option.default_doc end
  if option.default == nil then return "" end
  return "`" .. (type(option.default) == "string" and value.quote(option.default) or tostring(option.default)) .. "`"
end

-- In a cell of a table.
local function cell(text) return (text:gsub("|", "\\|")) end

local function row(option)
  local name = type(option[1]) == "number" and "[" .. option[1] .. "]" or option[1]
  return ("| `%s` | %s | %s | %s | %s |"):format(name, cell(option.type.name), cell(default_of(option)), option.restart and "restart" or "hot", cell(option.doc))
end

local function reference()
  local out = { INTRO }
  for _, entry in ipairs(schema.groups) do
    local title, group = entry[1], entry[2]
    out[#out + 1] = ("## %s\n\n%s\n\n| option | type | default | reload | what it does |\n|---|---|---|---|---|"):format(title, entry.doc)
    for _, option in ipairs(group.options) do
      out[#out + 1] = row(option)
    end
    out[#out + 1] = ""
  end
  out[#out + 1] = POLICIES:format(list(policy.route.built_in), list(policy.affinity.built_in))
  return table.concat(out, "\n")
end

local STUBS_HEAD = [[
---@meta puerta
-- For editors with the Lua language server. Written by tools/docs.sh from lua/puerta/schema.lua.

---@class puerta.secret
---@class puerta.config
---@class puerta.redis
---@class puerta.mongodb
---@class puerta.backend
---@class puerta.policy
]]

local STUBS_TAIL = [[
---@class puerta.env
---@field int fun(name: string, default?: integer): integer
---@field string fun(name: string, default?: string): string
---@field bool fun(name: string, default?: boolean): boolean
---@field list fun(name: string, default?: string[]): string[]
---@field secret fun(name: string, default?: string): puerta.secret
---@field file fun(path: string, default?: string): puerta.secret

local puerta = {}

---@type puerta.env
puerta.env = {}

---@param options puerta.config.options
---@return puerta.config
function puerta.config(options) end

---@param options puerta.redis.options
---@return puerta.redis
function puerta.redis(options) end

---@param options puerta.mongodb.options
---@return puerta.mongodb
function puerta.mongodb(options) end

---@param options puerta.backend.options
---@return puerta.backend
function puerta.backend(options) end

---@param name string
---@param options? table
---@return puerta.policy
function puerta.policy(name, options) end

return puerta
]]

local function stubs()
  local out = { STUBS_HEAD }
  for _, entry in ipairs(schema.groups) do
    local group = entry[2]
    out[#out + 1] = "---@class " .. group.editor
    for _, option in ipairs(group.options) do
      local name = type(option[1]) == "number" and ("[%d]"):format(option[1]) or option[1]
      local optional = option.required and "" or type(option[1]) == "number" and "" or "?"
      out[#out + 1] = ("---@field %s%s %s %s"):format(name, optional, option.type.editor, option.doc)
    end
    out[#out + 1] = ""
  end
  out[#out + 1] = STUBS_TAIL
  return table.concat(out, "\n")
end

local check, stale = ... == "--check", false
local function bring_up_to_date(path, text)
  local file = io.open(path, "rb")
  local fresh = file and file:read "*a" == text
  if file then file:close() end
  if fresh then return end
  if check then
    stale = true
    io.stderr:write(path, " is stale: run tools/docs.sh\n")
    return
  end
  file = assert(io.open(path, "wb"))
  assert(file:write(text))
  assert(file:close())
  print("wrote " .. path)
end

bring_up_to_date("conf/REFERENCE.md", reference())
bring_up_to_date("lua/meta/puerta.lua", stubs())
bring_up_to_date("docs/ERRORS.md", errors())
bring_up_to_date("packaging/man/puerta.1", man.command(cli))
bring_up_to_date("packaging/man/puerta.lua.5", man.config(reference(), cli.version))
bring_up_to_date("packaging/completion/puerta", shell.bash(cli))
bring_up_to_date("packaging/completion/_puerta", shell.zsh(cli))
os.exit(stale and 1 or 0)
