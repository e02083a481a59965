--- Where things stand in the text of a configuration file: for every call in it, the lines of the options in its table arguments.
-- A table constructor spans lines, and the running program only knows the line of the call. So the text is read a second time, as tokens,
-- after the compiler has accepted it.
--
-- A site is one call: { name = "redis", line =, tail =, args = { table or false, ... } }
-- A table is a constructor in the text: { line =, fields = { [key] = { line =, table = table or nil } }, twice = { { key =, line =, first = } } }

local M = {}

local keywords = {}
for word in ("and break do else elseif end false for function goto if in local nil not or repeat return then true until while"):gmatch "%a+" do
  keywords[word] = true
end

-- Where the string or comment that begins at i with a long bracket ends; nil when there is no long bracket.
local function long_bracket(text, i)
  local equals = text:match("^%[(=*)%[", i)
  if not equals then return nil end
  local _, last = text:find("]" .. equals .. "]", i, true)
  return last
end

local function short_string(text, i)
  local quote = text:sub(i, i)
  local j = i + 1
  while text:sub(j, j) ~= quote do
    j = j + (text:sub(j, j) == "\\" and 2 or 1)
  end
  return j
end

-- One token at i: its kind and its last byte. Comments have the kind nil.
local function token_at(text, i)
  local two = text:sub(i, i + 1)
  if two == "--" then return nil, long_bracket(text, i + 2) or (text:find("\n", i, true) or #text + 1) - 1 end
  local first = two:sub(1, 1)
  if first:find "[%a_\128-\255]" then
    local _, last = text:find("^[%w_\128-\255]+", i)
    return keywords[text:sub(i, last)] and "keyword" or "name", last
  end
  if two:find "^%d" or two:find "^%.%d" then
    local _, last = text:find("^[%w.]+", i)
    while text:find("^[eEpP][+-]", last) do
      _, last = text:find("^[%w.]*", last + 2)
    end
    return "number", last
  end
  if first:find "[\"']" then return "string", short_string(text, i) end
  local last = first == "[" and long_bracket(text, i)
  if last then return "string", last end
  local _, op = text:find("^%.%.%.?", i)
  if op then return "op", op end
  return "op", two:find "^[=~<>]=" and i + 1 or two == "::" and i + 1 or i
end

local function tokens_of(text)
  local tokens, line, i = {}, 1, 1
  if text:find "^\239\187\191" then i = 4 end
  if text:find("^#", i) then i = text:find("\n", i, true) or #text + 1 end
  while true do
    local next_i = text:find("%S", i)
    local _, newlines = text:sub(i, (next_i or #text + 1) - 1):gsub("\n", "")
    line = line + newlines
    if not next_i then return tokens, line end
    local kind, last = token_at(text, next_i)
    local word = text:sub(next_i, last)
    if kind then tokens[#tokens + 1] = { kind = kind, text = word, line = line } end
    _, newlines = word:gsub("\n", "")
    line, i = line + newlines, last + 1
  end
end

local opens = { ["function"] = true, ["if"] = true, ["do"] = true, ["repeat"] = true }
local closes = { ["end"] = true, ["until"] = true }
local end_of_field = { [","] = true, [";"] = true, ["}"] = true }
local end_of_argument = { [","] = true, [")"] = true }
local end_of_group = { [")"] = true }
local end_of_index = { ["]"] = true }

local Reader = {}
Reader.__index = Reader

function Reader:text(offset)
  local t = self.tokens[self.i + (offset or 0)]
  return t and t.kind ~= "string" and t.text
end

function Reader:table_constructor()
  local t = { line = self.tokens[self.i].line, fields = {}, twice = {} }
  local index = 0
  self.i = self.i + 1
  while self:text() ~= "}" do
    local key, line = nil, self.tokens[self.i].line
    if self.tokens[self.i].kind == "name" and self:text(1) == "=" then
      key, self.i = self.tokens[self.i].text, self.i + 2
    elseif self:text() == "[" then
      local first = self.i + 1
      self.i = first
      self:scan(end_of_index)
      local literal = self.i == first + 1 and loadstring("return " .. self.tokens[first].text, "=key")
      if literal and self.tokens[first].kind ~= "name" then key = literal() end
      self.i = self.i + 2
    else
      index = index + 1
      key = index
    end
    local value = self:scan(end_of_field)
    if key ~= nil then
      if t.fields[key] then t.twice[#t.twice + 1] = { key = key, line = line, first = t.fields[key].line } end
      t.fields[key] = { line = line, table = value }
    end
    if self:text() ~= "}" then self.i = self.i + 1 end
  end
  self.i = self.i + 1
  return t
end

-- The arguments of a call; leaves the reader behind them.
function Reader:call(name, tail)
  local token = self.tokens[self.i]
  local site = { name = name, line = token.line, tail = tail, args = {} }
  if token.kind == "string" then
    self.i = self.i + 1
  elseif token.text == "{" then
    site.args[1] = self:table_constructor()
  else
    self.i = self.i + 1
    while self:text() ~= ")" do
      site.args[#site.args + 1] = self:scan(end_of_argument) or false
      if self:text() == "," then self.i = self.i + 1 end
    end
    self.i = self.i + 1
  end
  self.sites[#self.sites + 1] = site -- inner calls before outer ones: the order in which they run
end

-- The name and the parameters of a function: not a call.
function Reader:skip_parameters()
  while self:text() ~= ")" do
    self.i = self.i + 1
  end
  self.i = self.i + 1
end

-- Reads up to one of the stops outside of all brackets and blocks. Returns the table when all that was read is one constructor.
function Reader:scan(stops)
  local start, blocks = self.i, 0
  local callable, name, tail = false, nil, false -- of the expression that ends here
  local alone
  while self.tokens[self.i] do
    local token, text = self.tokens[self.i], self:text()
    if text and blocks == 0 and stops[text] then break end
    if token.kind == "name" then
      local before = self:text(-1)
      if before ~= "." and before ~= ":" then tail = before == "return" end
      callable, name, self.i = true, text, self.i + 1
    elseif callable and (not text or text == "{" or text == "(") then
      self:call(name, tail)
    elseif text == "{" then
      local first = self.i == start
      local t = self:table_constructor()
      alone = first and { t = t, last = self.i }
    elseif text == "(" or text == "[" then
      self.i = self.i + 1
      self:scan(text == "(" and end_of_group or end_of_index)
      callable, tail, self.i = true, false, self.i + 1
    else
      callable, self.i = false, self.i + 1
      if opens[text] then blocks = blocks + 1 end
      if closes[text] then blocks = blocks - 1 end
      if text == "function" then self:skip_parameters() end
      if text == "." or text == ":" then name = nil end
    end
  end
  return alone and alone.last == self.i and alone.t or nil
end

--- The calls in text, which must be valid Lua, in the order in which they end; and the line of the last return, or the last line.
function M.calls(text)
  local tokens, last = tokens_of(text)
  local reader = setmetatable({ tokens = tokens, i = 1, sites = {} }, Reader)
  while tokens[reader.i] do
    reader:scan {}
  end
  for _, token in ipairs(tokens) do
    if token.kind == "keyword" and token.text == "return" then last = token.line end
  end
  return reader.sites, last
end

local function named(sites, name, line)
  local found = {}
  for _, site in ipairs(sites) do
    if site.name == name and (line and site.line == line or not line and site.tail) then found[#found + 1] = site end
  end
  return found
end

local function on_line(sites, line)
  local found
  for _, site in ipairs(sites) do
    if site.line == line then
      if found then return {} end
      found = site
    end
  end
  return { found }
end

--- A function that finds the site of each call as the program makes them: f(name, line) for the call of `name` that was running on line.
-- Several on one line are told apart by their order; `return puerta.redis {...}` is a tail call, which leaves no line of its own; a constructor
-- under another name is found when it is the only call on its line. nil: not found.
function M.finder(sites)
  local made = {}
  return function(name, line)
    local found = line and named(sites, name, line) or {}
    local key = name .. (line or "")
    if #found == 0 then
      found, key = named(sites, name, nil), name
    end
    if #found == 0 and line then found = on_line(sites, line) end
    local n = made[key] or 0
    made[key] = n + 1
    return found[n % math.max(#found, 1) + 1]
  end
end

return M
