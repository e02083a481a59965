--- A hash map of uint64 to uint64 in C memory: no garbage, nothing for the collector to walk, however many entries.
-- Fixed capacity, open addressing with linear probing, at most half full, so nearly every look-up ends at its first cell.
--
--    local seen = puerta.map(100000)      -- bytes: 32 a key (twice the capacity, as a power of two)
--    seen:set(key, value)                 -- true; false: full
--    seen:get(key)                        -- number, 0 when absent
--    seen:has(key)                        -- boolean
--    seen:add(key, delta)                 -- the new value; nil: full. A counter starts at 0
--    seen:remove(key)                     -- true when it was there
--    seen.count, seen.capacity, seen:clear()
--
-- Keys and values are integers up to 2^53 as numbers, or uint64_t cdata; `get` and `add` answer numbers.

local ffi = require "ffi"
local bit = require "bit"

ffi.cdef [[
void *calloc(size_t, size_t);
void free(void *);
typedef struct puerta_cell { uint64_t key, value; } puerta_cell;
typedef struct puerta_map {
  puerta_cell *cells;      /* [mask + 2]: the last one is for key 0, which marks a free cell elsewhere */
  uint64_t seed;
  uint32_t mask, count, capacity;
  uint8_t zero;            /* key 0 is there */
} puerta_map;
]]

local C = ffi.C
local shift = bit.rshift

-- Keys may come from the network: the seed keeps chosen keys from colliding.
local function random_seed()
  local f = io.open("/dev/urandom", "rb")
  local bytes = f and f:read(8)
  if f then f:close() end
  if not bytes or #bytes < 8 then return ffi.cast("uint64_t", os.time()) * 0x9e3779b97f4a7c15ULL end
  return ffi.cast("const uint64_t *", bytes)[0]
end

local function home(map, key)
  local h = bit.bxor(key, map.seed) * 0xff51afd7ed558ccdULL
  h = bit.bxor(h, shift(h, 33)) * 0xc4ceb9fe1a85ec53ULL
  return tonumber(bit.band(shift(h, 32), map.mask))
end

-- Away from home: a loop of its own, so that the trace of the hot path stays straight.
local function probe(map, key, i)
  local cells, mask = map.cells, map.mask
  repeat
    i = bit.band(i + 1, mask)
    local k = cells[i].key
  until k == key or k == 0
  return i
end

-- Where key is, or the free cell where it would go.
local function locate(map, key)
  if key == 0 then return map.mask + 1 end
  local i = home(map, key)
  local k = map.cells[i].key
  if k == key or k == 0 then return i end
  return probe(map, key, i)
end

local u64 = ffi.typeof "uint64_t"
local methods = {}

function methods:get(key)
  key = u64(key)
  return tonumber(self.cells[locate(self, key)].value) -- a free cell's value is 0
end

function methods:has(key)
  key = u64(key)
  if key == 0 then return self.zero == 1 end
  return self.cells[locate(self, key)].key == key
end

-- The cell of key, made when there is none; nil when full.
local function cell_of(map, key)
  local i = locate(map, key)
  local cell = map.cells + i
  if key == 0 then
    if map.zero == 1 then return cell end
    if map.count >= map.capacity then return nil end
    map.zero, map.count = 1, map.count + 1
  elseif cell.key == 0 then
    if map.count >= map.capacity then return nil end
    cell.key, map.count = key, map.count + 1
  end
  return cell
end

function methods:set(key, value)
  local cell = cell_of(self, u64(key))
  if cell == nil then return false end
  cell.value = value
  return true
end

function methods:add(key, delta)
  local cell = cell_of(self, u64(key))
  if cell == nil then return nil end
  cell.value = cell.value + u64(delta)
  return tonumber(cell.value)
end

-- Closes the gap at i: a later entry moves into it unless its home lies behind the gap.
local function close_gap(map, i)
  local cells, mask = map.cells, map.mask
  local j = i
  while true do
    j = bit.band(j + 1, mask)
    local k = cells[j].key
    if k == 0 then break end
    if bit.band(j - home(map, k), mask) >= bit.band(j - i, mask) then
      cells[i].key, cells[i].value = k, cells[j].value
      i = j
    end
  end
  cells[i].key, cells[i].value = 0, 0
end

function methods:remove(key)
  key = u64(key)
  if not self:has(key) then return false end
  if key == 0 then
    self.cells[self.mask + 1].value, self.zero = 0, 0
  else
    close_gap(self, locate(self, key))
  end
  self.count = self.count - 1
  return true
end

function methods:clear()
  ffi.fill(self.cells, (self.mask + 2) * ffi.sizeof "puerta_cell")
  self.count, self.zero = 0, 0
end

local map_t = ffi.metatype("puerta_map", {
  __index = methods,
  __gc = function(map) C.free(map.cells) end,
})

local M = {}

function M.new(capacity)
  if type(capacity) ~= "number" or capacity < 1 or capacity > 2 ^ 28 or capacity % 1 ~= 0 then
    error("map: capacity: expected an integer 1..2^28, got " .. tostring(capacity), 2)
  end
  local size = 2
  while size < 2 * capacity do
    size = size * 2
  end
  local cells = ffi.cast("puerta_cell *", C.calloc(size + 1, ffi.sizeof "puerta_cell"))
  if cells == nil then error("map: no memory for " .. capacity .. " entries", 2) end
  return map_t(cells, random_seed(), size - 1, 0, capacity, 0)
end

return M
