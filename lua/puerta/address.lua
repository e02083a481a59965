--- "host:port" as text: names, IPv4, IPv6 in brackets.

local M = {}

local LONGEST = 253 -- a DNS name

local function is_ipv4(host)
  local parts = { host:match "^(%d+)%.(%d+)%.(%d+)%.(%d+)$" }
  for _, part in ipairs(parts) do
    if #part > 3 or tonumber(part) > 255 then return false end
  end
  return #parts == 4
end

local function is_ipv6(host)
  host = host:gsub("%%[%w_.-]+$", "") -- zone
  local tail = host:match ":([%d.]*%.[%d.]*)$" -- IPv4 written at its end: two groups
  if tail then
    if not is_ipv4(tail) then return false end
    host = host:sub(1, -#tail - 1) .. "0:0"
  end
  local _, gaps = host:gsub("::", "")
  if gaps > 1 or host:find ":::" or host:find "^:[^:]" or host:find "[^:]:$" or not host:find "^[%x:]+$" then return false end
  local groups = 0
  for group in host:gmatch "[^:]+" do
    groups = groups + 1
    if #group > 4 then return false end
  end
  return gaps == 1 and groups < 8 or gaps == 0 and groups == 8
end

function M.is_numeric(host) return is_ipv4(host) or is_ipv6(host) end

local function is_name(host)
  return #host <= LONGEST and host:find "^[%w_]" and not host:find "[^%w_.-]" and not host:find "%.%." and not host:find "^[%d.]+$"
end

function M.format(a) return (a.host:find(":", 1, true) and "[%s]:%d" or "%s:%d"):format(a.host, a.port) end

--- { host =, port = }; nil, what was expected, and a hint. port: the usual one, for hints.
function M.parse(text, port)
  if text:find "^unix:" or text:find "^[/.]" then return nil, "expected host:port (unix sockets are not built yet)" end
  local host, digits = text:match "^%[(.*)%]:(%d+)$"
  if host then
    if not is_ipv6(host) then return nil, "expected an IPv6 address in the brackets" end
  else
    host, digits = text:match "^([^%[%]]*):(%d+)$"
    local bare = text:match "^%[(.*)%]$" or text
    if is_ipv6(bare) then return nil, "expected host:port", (' (did you mean "[%s]:%d"?)'):format(bare, port) end
    if host and is_ipv6(host) then return nil, "expected brackets around an IPv6 address", (' (did you mean "[%s]:%s"?)'):format(host, digits) end
    if not host and (is_ipv4(text) or is_name(text)) then return nil, "expected host:port", (' (did you mean "%s:%d"?)'):format(text, port) end
    if not host or not (host == "*" or is_ipv4(host) or is_name(host)) then return nil, "expected host:port" end
  end
  local number = tonumber(digits)
  if #digits > 5 or number < 1 or number > 65535 then return nil, "expected a port 1..65535" end
  return { host = host, port = number }
end

--- As parse, for a socket to listen on: "*" or a numeric address.
function M.parse_bind(text, port)
  local a, expected, hint = M.parse(text, port)
  if not a then return nil, expected, hint end
  if a.host == "*" then a.host = "0.0.0.0" end
  if M.is_numeric(a.host) then return a end
  if a.host == "localhost" then hint = (' (did you mean "127.0.0.1:%d"?)'):format(a.port) end
  return nil, "expected a numeric address or * to listen on", hint
end

--- As parse, for a peer to connect to.
function M.parse_peer(text, port)
  local a, expected, hint = M.parse(text, port)
  if a and a.host == "*" then return nil, "expected the host to connect to, not *" end
  return a, expected, hint
end

--- "10.0.0.0/8", "::1": { host = numeric, bits = }; nil and what was expected.
function M.parse_range(text)
  local host, digits = text:match "^([^/]*)/(%d+)$"
  host = host or text
  local most = is_ipv4(host) and 32 or is_ipv6(host) and not host:find("%", 1, true) and 128
  if not most then return nil, 'expected an address and bits, like "10.0.0.0/8"' end
  local bits = digits and #digits <= 3 and tonumber(digits) or not digits and most
  if not bits or bits > most then return nil, ("expected 0..%d bits"):format(most) end
  return { host = host, bits = bits }
end

return M
