--- The types of single options. A type is { name, check(v, at) -> value or nil, show(value) -> Lua text, editor = type for the editor }; check reports
-- what is wrong at its place. Values come out normalised: durations and sizes as numbers, addresses as { host, port }.

local address = require "puerta.address"
local suggest = require "puerta.suggest"
local units = require "puerta.units"
local value = require "puerta.value"

local M = {}

local SOCKET_PATH = 100 -- the kernel takes 107; the socket is made under a longer name first

-- parse(v) -> value, or nil, what was expected, a hint
local function scalar(t, parse)
  function t.check(v, at)
    if v == value.invalid then return nil end
    local result, expected, hint = parse(v)
    if result ~= nil then return result end
    local shown = t.hidden and not value.reveal(v) and "a " .. type(v) or value.describe(v)
    at:fail(("%s, got %s%s"):format(expected, shown, hint or ""))
  end
  t.show = t.show or tostring
  return t
end

function M.integer(min, max)
  local name = ("integer %d..%d"):format(min, max)
  return scalar({ name = name, editor = "integer" }, function(v)
    if type(v) == "number" and v % 1 == 0 and v >= min and v <= max then return v end
    return nil, "expected " .. name
  end)
end

function M.boolean()
  return scalar({ name = "boolean", editor = "boolean" }, function(v)
    if type(v) == "boolean" then return v end
    return nil, "expected true or false"
  end)
end

function M.enum(names)
  local quoted = {}
  for i, name in ipairs(names) do
    quoted[i] = value.quote(name)
  end
  return scalar({ name = table.concat(quoted, ", "), editor = table.concat(quoted, "|"), show = value.quote }, function(v)
    for _, name in ipairs(names) do
      if v == name then return v end
    end
    return nil, "expected " .. table.concat(quoted, ", "):gsub(", ([^,]*)$", " or %1"), type(v) == "string" and suggest.hint(v, names)
  end)
end

-- Text with a unit. base: what the value is counted in; usual: an amount for guesses at what a bare number means.
local function measure(f, base, range, usual, zero)
  local min, max = units.parse(f, range[1]), units.parse(f, range[2])
  local name = ("%s %s..%s"):format(f == units.duration and "duration" or "size", range[1], range[2])
  local t = { name = name .. (zero and ', or "0s"' or ""), editor = "string" }
  function t.show(v) return value.quote(units.format(f, v * base)) end
  return scalar(t, function(v)
    local text = type(v) == "string" and v:match "^%s*(.-)%s*$" or nil
    local bare = type(v) == "number" and v or text and tonumber(text)
    if bare then
      local guess = bare >= 0 and bare < 2 ^ 53 and (' (did you mean "%s"?)'):format(units.guess(f, bare, units.parse(f, usual))) or ""
      return nil, ("expected %s with a unit"):format(f.what), guess
    end
    if not text then return nil, ('expected %s, like "%s"'):format(f.what, f.example) end
    local amount, expected, hint = units.parse(f, text)
    if not amount then return nil, expected, hint end
    if amount == 0 and zero then return 0 end
    if amount < min or amount > max then return nil, ("expected %s..%s%s"):format(range[1], range[2], zero and ' or "0s"' or "") end
    if amount % base ~= 0 then return nil, "expected a multiple of " .. units.format(f, base) end
    return amount / base
  end)
end

--- In milliseconds. zero: "0s" is allowed beside the range.
function M.duration(range, usual, zero) return measure(units.duration, 1000, range, usual, zero) end
--- In microseconds.
function M.short_duration(range, usual, zero) return measure(units.duration, 1, range, usual, zero) end
--- In bytes.
function M.size(range, usual) return measure(units.size, 1, range, usual) end

--- A part of a whole, more than 0.
function M.share(min)
  return scalar({ name = ("number %s..1"):format(min), editor = "number" }, function(v)
    if type(v) == "number" and v >= min and v <= 1 then return v end
    return nil, ("expected a number %s..1"):format(min)
  end)
end

--- A word that names something: letters, digits, "_", "-", ".".
function M.name()
  return scalar({ name = "name", editor = "string", show = value.quote }, function(v)
    if type(v) == "string" and v:find "^[%w_.-]+$" and #v <= 64 then return v end
    return nil, "expected a name of up to 64 letters, digits and _-."
  end)
end

--- Any text without control characters.
function M.text(max)
  return scalar({ name = "string", editor = "string", show = value.quote }, function(v)
    if type(v) == "string" and v ~= "" and #v <= max and not v:find "%c" then return v end
    return nil, ("expected a string of 1..%d characters"):format(max)
  end)
end

--- A path that means the same whatever directory puerta is started in.
function M.path()
  return scalar({ name = "absolute path", editor = "string", show = value.quote }, function(v)
    if type(v) == "string" and v:find "^/" and #v < 4096 and not v:find "%c" then return v end
    return nil, 'expected an absolute path, like "/run/puerta/puerta.pid"'
  end)
end

--- Where a log goes: a word, or a path, which has a "/" in it so that a misspelt word is none.
function M.log_target()
  local words = { "stderr", "syslog", "journald" }
  local t = { name = '"stderr", "syslog", "journald", or a path', editor = "string", show = value.quote }
  return scalar(t, function(v)
    local path = type(v) == "string" and not v:find "%c" and #v <= 1024
    if path and (v:find "^syslog:/" or v:find "^journald:/" or (v:find "/[^/]" and not v:find "/$" and not v:find "^%a+:")) then return v end
    for _, word in ipairs(words) do
      if v == word then return v end
    end
    return nil, 'expected "stderr", "syslog", "journald" or the path of a file (with a "/")', type(v) == "string" and suggest.hint(v, words)
  end)
end

--- A password: never shown.
function M.secret(max)
  local t = { name = "string, better from `env.secret` or `env.file`", editor = "string|puerta.secret", hidden = true }
  function t.show() return '"***"' end
  return scalar(t, function(v)
    local text = value.reveal(v) or v
    if type(text) == "string" and text ~= "" and #text <= max and not text:find "%z" then return text end
    return nil, ("expected a string of 1..%d bytes"):format(max)
  end)
end

--- A file that can be read, by its path relative to the configuration; comes out as { path =, source = as written }.
function M.file()
  local t = { name = "path", editor = "string" }
  function t.show(file) return value.quote(file.source) end
  function t.check(v, at)
    if v == value.invalid then return nil end
    if type(v) ~= "string" or v == "" or v:find "%c" then return at:fail("expected the path of a file, got " .. value.describe(v)) end
    local path = at.context.resolve(v)
    local readable, why = at.context.readable(path)
    if not readable then return at:fail(why) end
    return { path = path, source = v }
  end
  return t
end

local function address_type(name, port, parse)
  local t = { name = name, editor = "string" }
  function t.show(a) return value.quote(address.format(a)) end
  return scalar(t, function(v)
    if type(v) == "string" then return parse(v, port) end
    local hint = type(v) == "number" and v % 1 == 0 and v > 0 and v < 65536 and (' (did you mean "127.0.0.1:%d"?)'):format(v)
    return nil, 'expected "host:port"', hint
  end)
end

--- Where to listen; port: the usual one, for hints.
function M.bind(port) return address_type('"address:port"; `*` is every IPv4 address', port, address.parse_bind) end
--- Whom to connect to.
function M.peer(port) return address_type('"host:port"', port, address.parse_peer) end

--- Where operators' requests are served: { host =, port = }, or { path = } of a unix socket.
function M.admin_bind(port)
  local t = { name = '"address:port" or "unix:/path"', editor = "string" }
  function t.show(a) return value.quote(a.path and "unix:" .. a.path or address.format(a)) end
  return scalar(t, function(v)
    if type(v) ~= "string" then return nil, 'expected "address:port" or "unix:/path"' end
    local path = v:match "^unix:(.*)$"
    if not path then return address.parse_bind(v, port) end
    if path:find "^/" and #path <= SOCKET_PATH and not path:find "%c" then return { path = path } end
    return nil, ("expected an absolute path of up to %d bytes after unix:"):format(SOCKET_PATH)
  end)
end

--- A range of addresses, { host =, bits = }.
function M.range()
  local t = { name = '"address/bits"', editor = "string" }
  function t.show(range) return value.quote(("%s/%d"):format(range.host, range.bits)) end
  return scalar(t, function(v)
    if type(v) == "string" then return address.parse_range(v) end
    return nil, 'expected "address/bits"'
  end)
end

return M
