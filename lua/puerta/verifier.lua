--- The option `verifier`: what a server keeps of a password, "SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>" (RFC 5803, as PostgreSQL writes it).
-- It does not reveal the password but is worth guessing at, so it is treated as a secret.

local value = require "puerta.value"

local M = { name = "what `puerta --scram USER` prints", editor = "string|puerta.secret" }

local MIN_ITERATIONS, MAX_ITERATIONS = 4096, 1000000 -- as wire/scram.h
local SALT, KEY = 32, 32 -- bytes: the longest salt, a key

-- Bytes that strict base64 stands for; nil: it is none. What the last digit has beyond whole bytes must be 0.
local function decoded_size(text)
  local digits, pad = text:match "^([%w+/]+)(=*)$"
  if not digits or #text % 4 ~= 0 or #pad > 2 then return nil end
  if #pad == 1 and not digits:find "[AEIMQUYcgkosw048]$" or #pad == 2 and not digits:find "[AQgw]$" then return nil end
  return #text / 4 * 3 - #pad
end

local function why_not(text)
  local iterations, salt, stored, server = text:match "^SCRAM%-SHA%-256%$(%d+):([^$:]+)%$([^$:]+):([^$:]+)$"
  if not iterations then return 'expected "SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey"' end
  local n = #iterations <= 7 and tonumber(iterations)
  if not n or n < MIN_ITERATIONS or n > MAX_ITERATIONS then
    return ("expected %d..%d iterations"):format(MIN_ITERATIONS, MAX_ITERATIONS)
  end
  local size = decoded_size(salt)
  if not size or size > SALT then return ("expected a salt of 1..%d bytes in base64"):format(SALT) end
  if decoded_size(stored) ~= KEY or decoded_size(server) ~= KEY then return ("expected keys of %d bytes in base64"):format(KEY) end
end

function M.check(v, at)
  if v == value.invalid then return nil end
  local text = value.reveal(v) or v
  local expected = type(text) == "string" and why_not(text) or type(text) ~= "string" and "expected a string, got " .. value.describe(text)
  if not expected then return text end
  at:fail(expected .. "; `puerta --scram USER` makes one of a password")
end

-- Nobody's: a shown configuration has to be a valid one.
local HIDDEN = ("SCRAM-SHA-256$%d:%s$%s:%s"):format(MIN_ITERATIONS, ("A"):rep(22) .. "==", ("A"):rep(43) .. "=", ("A"):rep(43) .. "=")
function M.show() return value.quote(HIDDEN) end

return M
