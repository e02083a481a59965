--- Hashes of 64 bits, the same in every process. Not cryptographic.

local ffi = require "ffi"
local bit = require "bit"

local bxor, shift = bit.bxor, bit.rshift
local u64 = ffi.typeof "uint64_t"

local M = {}

--- A uint64_t, well mixed: pt_mix64 of base/hash.h.
function M.mix(x)
  x = bxor(x, shift(x, 30)) * 0xbf58476d1ce4e5b9ULL
  x = bxor(x, shift(x, 27)) * 0x94d049bb133111ebULL
  return bxor(x, shift(x, 31))
end

--- Of a string: a uint64_t, never 0. FNV-1a, mixed.
function M.of(text)
  if type(text) ~= "string" then error("hash: expected a string, got " .. type(text), 2) end
  local h = 0xcbf29ce484222325ULL
  for i = 1, #text do
    h = bxor(h, u64(text:byte(i))) * 0x100000001b3ULL
  end
  h = M.mix(h)
  return h == 0 and 1ULL or h
end

return M
