--- "Did you mean": the known name nearest to a mistyped one.

local M = {}

local LONGEST = 64 -- names longer than this are no slips of the finger

-- Insertions, deletions, substitutions and swaps of neighbours that turn a into b.
local function distance(a, b)
  local before, row, new = {}, {}, {}
  for j = 0, #b do
    row[j] = j
  end
  for i = 1, #a do
    new[0] = i
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      new[j] = math.min(row[j] + 1, new[j - 1] + 1, row[j - 1] + (same and 0 or 1))
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then new[j] = math.min(new[j], before[j - 2] + 1) end
    end
    before, row, new = row, new, before
  end
  return row[#b]
end

--- The candidate nearest to name, nil when none is near.
function M.nearest(name, candidates)
  if #name > LONGEST then return nil end
  local best, least = nil, math.max(2, math.ceil(#name / 3)) + 1
  for _, candidate in ipairs(candidates) do
    local d = distance(name:lower(), candidate:lower())
    if d < least and d < #candidate then
      best, least = candidate, d
    end
  end
  return best
end

--- The nearest candidate as the end of a message: ' (did you mean "timeouts"?)', or "".
function M.hint(name, candidates)
  local best = M.nearest(name, candidates)
  return best and (' (did you mean "%s"?)'):format(best) or ""
end

return M
