--- docs/ERRORS.md from src/base/errors.def: the page of error codes.

local CLASSES = {
  { "CLIENT", "C", "the client asks for what cannot be done" },
  { "PROTOCOL", "P", "what came is not what the protocol allows; the connection ends" },
  { "BACKEND", "B", "a Redis node or a mongos failed, or cannot be reached" },
  { "TIMEOUT", "T", "something took longer than the configuration allows" },
  { "OVERLOAD", "O", "a limit was reached" },
  { "POLICY", "L", "a policy or an access list decided so, or failed" },
  { "INTERNAL", "I", "puerta itself" },
}

local HEAD = [[
<!-- Written by tools/docs.sh from src/base/errors.def. -->
# Errors

Every error that puerta itself gives has a code that never changes. It stands

- in the **log**: `error: PT-B02: clients are told: ...`, `client: cache: client 12 closed: it speaks HTTP (PT-C07)`, a line a second of each at most;
- in the **metrics**: counted by class and code;
- in what a **Redis client** is told, at the end: `-ERR node 10.0.0.1:6379 fails fast: connection refused; request not sent (PT-B02)`. Not so where the text is
  Redis' own, which clients may compare (`NOAUTH`, `CROSSSLOT`, unknown commands, ...; "silent" below), or where the connection just ends;
- in `errmsg` of what a **MongoDB client** is told; `code`, `codeName` and labels are those that drivers know.

Errors of the servers themselves pass through unchanged and have no code.
]]

-- The next C token at i of text: kind, value, and where the next one begins.
local function token(text, i)
  i = text:find("%S", i)
  if not i then return nil end
  local word = text:match("^[%w_]+", i)
  if word then return "word", word, i + #word end
  if text:sub(i, i) ~= '"' then return "mark", text:sub(i, i), i + 1 end
  local j, value = i + 1, ""
  while text:sub(j, j) ~= '"' do
    if text:sub(j, j) == "\\" then j = j + 1 end
    value = value .. text:sub(j, j)
    j = j + 1
  end
  return "string", value, j + 1
end

-- The arguments of each X(...).
local function entries(text)
  local found, i = {}, 1
  text = text:gsub("/%*.-%*/", "")
  while true do
    i = text:find("X%(", i)
    if not i then return found end
    local args, kind, value = {}, nil, nil
    i = i + 2
    repeat
      kind, value, i = token(text, i)
      if kind ~= "mark" then args[#args + 1] = value end
    until kind == "mark" and value == ")"
    found[#found + 1] = { code = args[2], class = args[3], shown = args[4] == "SHOWN", text = args[5], remedy = args[6] }
  end
end

return function()
  local file = assert(io.open("src/base/errors.def"))
  local all = entries(file:read "*a")
  file:close()
  local out = { HEAD }
  for _, class in ipairs(CLASSES) do
    out[#out + 1] = ("## %s (PT-%s)\n\nThat is: %s.\n\n| code | what it means | what to do |\n|---|---|---|"):format(class[1]:lower(), class[2], class[3])
    for _, e in ipairs(all) do
      if e.class == class[1] then
        out[#out + 1] = ("| `%s`%s | %s | %s |"):format(e.code, e.shown and "" or " silent", e.text:gsub("|", "\\|"), (e.remedy:gsub("|", "\\|")))
      end
    end
    out[#out + 1] = ""
  end
  return table.concat(out, "\n")
end
