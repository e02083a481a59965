--- Durations and sizes as text with a unit: "250ms", "1.5s", "16MiB". The base units are the microsecond and the byte.

local M = {}

local LARGEST = 2 ^ 53

local function family(what, example, zero, units, aliases)
  local f = { what = what, example = example, zero = zero, units = units, factor = {}, alias = aliases }
  for _, unit in ipairs(units) do
    f.factor[unit[1]] = unit[2]
    f.alias[unit[1]:lower()] = f.alias[unit[1]:lower()] or unit[1]
  end
  return f
end

-- Units from small to large; aliases (in lower case) are what people write instead: an error names the unit they mean.
M.duration = family("a duration", "250ms", "0s", { { "us", 1 }, { "ms", 1e3 }, { "s", 1e6 }, { "m", 6e7 }, { "h", 3.6e9 } }, {
  usec = "us", msec = "ms", millis = "ms", sec = "s", secs = "s", second = "s", seconds = "s",
  min = "m", mins = "m", minute = "m", minutes = "m", hr = "h", hour = "h", hours = "h",
})
M.size = family("a size", "16MiB", "0B", {
  { "B", 1 }, { "kB", 1e3, decimal = true }, { "KiB", 2 ^ 10 }, { "MB", 1e6, decimal = true }, { "MiB", 2 ^ 20 },
  { "GB", 1e9, decimal = true }, { "GiB", 2 ^ 30 },
}, { byte = "B", bytes = "B", k = "KiB", m = "MiB", g = "GiB" })

local function names(f)
  local list = {}
  for i, unit in ipairs(f.units) do
    list[i] = unit[1]
  end
  return table.concat(list, " ")
end

--- Text to base units; nil and what was expected instead.
function M.parse(f, text)
  local number, unit = text:match "^(%d+%.?%d*)(%a+)$"
  if not number then return nil, ('expected %s with a unit, like "%s"'):format(f.what, f.example) end
  local factor = f.factor[unit]
  if not factor then
    local meant = f.alias[unit:lower()]
    local hint = meant and (' (did you mean "%s%s"?)'):format(number, meant) or ""
    return nil, ("expected one of the units %s"):format(names(f)), hint
  end
  local value = tonumber(number) * factor
  if value > LARGEST then return nil, ("expected %s that is not astronomic"):format(f.what) end
  return value
end

--- Base units to text: the largest unit that divides the value, but 60 to 119 seconds stay seconds.
function M.format(f, value)
  if value == 0 then return f.zero end
  local best = f.units[1]
  for _, unit in ipairs(f.units) do
    if value % unit[2] == 0 and value / unit[2] >= (unit[1] == "m" and 2 or 1) then best = unit end
  end
  return ("%.0f%s"):format(value / best[2], best[1])
end

--- The text a bare number stands for most likely: the unit that brings it nearest to usual, an amount in base units.
function M.guess(f, number, usual)
  if number == 0 then return f.zero end
  local best, least
  for _, unit in ipairs(f.units) do
    local ratio = math.abs(math.log(number * unit[2] / math.max(usual, 1)))
    if not unit.decimal and (not least or ratio < least) then
      best, least = unit, ratio
    end
  end
  return number < 1e5 and ("%.14g%s"):format(number, best[1]) or M.format(f, math.floor(number * best[2]))
end

return M
