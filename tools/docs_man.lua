--- The manual pages: puerta(1) of the command line, puerta.lua(5) of the reference page.

local M = {}

local HEAD = '.\\" Written by tools/docs.sh.\n.TH "%s" "%s" "" "puerta %s" "%s"\n'

-- Text that roff must not take for its own.
local function plain(text)
  text = text:gsub("\\", "\\e"):gsub("%-", "\\-")
  return (text:gsub("^([.'])", "\\&%1"):gsub("\n([.'])", "\n\\&%1"))
end

-- A line of Markdown: `code`, **bold**, *emphasis*, [links](to).
local function inline(text)
  local kept = {}
  local function keep(font)
    return function(inner)
      kept[#kept + 1] = ("\\f%s%s\\fR"):format(font, (plain(inner):gsub("^\\&", "")))
      return ("\1%d\1"):format(#kept)
    end
  end
  text = text:gsub("\\|", "|"):gsub("`([^`]+)`", keep "B"):gsub("%*%*(.-)%*%*", keep "B"):gsub("%f[%w%*]%*(%w[^*]-)%*", keep "I")
  text = plain(text:gsub("%[(.-)%]%((.-)%)", "%1"))
  repeat
    local n
    text, n = text:gsub("\1(%d+)\1", function(i) return kept[tonumber(i)] end)
  until n == 0
  return (text:gsub("^\\f", "\\&\\f"))
end

local function cells(row)
  local out = {}
  for cell in row:gsub("\\|", "\2"):gmatch "|%s*([^|]*)%f[|]" do
    out[#out + 1] = (cell:gsub("%s+$", ""):gsub("\2", "|"))
  end
  return out
end

-- A row of a table: the first cell, then what the others say.
local function row(head, line)
  local c, facts = cells(line), {}
  for i = 2, #c - 1 do
    if c[i] ~= "" then facts[#facts + 1] = head[i] .. ": " .. c[i] end
  end
  local last = (#c == 2 or head[#c] == "what it does") and c[#c] or head[#c] .. ": " .. c[#c]
  return (".TP\n%s\n%s%s"):format(inline(c[1]), #facts > 0 and inline(table.concat(facts, "; ")) .. "\n.br\n" or "", inline(last))
end

-- The Markdown that docs.lua writes: headings, paragraphs, lists, tables, fenced code.
local function blocks(markdown)
  local out, paragraph, head, code = {}, {}, nil, false
  local function add(text) out[#out + 1] = text end
  local function end_paragraph() -- whole: what is between backticks may go over lines
    if #paragraph > 0 then add(inline(table.concat(paragraph, "\n"))) end
    paragraph = {}
  end
  for line in (markdown .. "\n"):gmatch "(.-)\n" do
    if line == "" or not line:find "^[%w`*]" or line:find "^```" then end_paragraph() end
    if line:find "^```" then
      code = not code
      add(code and ".PP\n.RS 4\n.nf" or ".fi\n.RE")
    elseif code then
      add(line == "" and "\\&" or plain(line))
    elseif line:find "^<!%-%-" or line:find "^# " or line:find "^|%-" then -- nothing to show
    elseif line:find "^##" then
      add(".SH " .. inline((line:gsub("^#+%s*", ""))))
    elseif line:find "^|" then
      if head then add(row(head, line)) end
      head = head or cells(line)
    elseif line:find "^%- " then
      add(".IP \\(bu 2\n" .. inline((line:gsub("^%- ", ""))))
    elseif line == "" then
      head = nil
      if out[#out] ~= ".PP" then add ".PP" end
    else
      paragraph[#paragraph + 1] = line
    end
  end
  local text = table.concat(out, "\n"):gsub("\n%.PP%f[\n](\n%.[ST][HP])", "%1"):gsub("\n%.PP(\n%.PP\n%.RS)", "%1")
  return (text:gsub("[\n]?%.PP%s*$", ""))
end

function M.config(markdown, version)
  return HEAD:format("PUERTA.LUA", "5", version, "Configuration of puerta") .. [[
.SH NAME
puerta.lua \- configuration of puerta(1)
.SH DESCRIPTION
]] .. blocks(markdown):gsub("^%.PP\n", "") .. [[

.SH SEE ALSO
.BR puerta (1)
]]
end

local function tagged(list)
  local out = {}
  for i, entry in ipairs(list) do
    out[i] = (".TP\n.B %s\n%s"):format(plain(tostring(entry.name)), inline(entry.text))
  end
  return table.concat(out, "\n")
end

local function command(c)
  return (".TP\n\\fB%s\\fR%s\n%s"):format(plain(c.name), c.argument and " \\fI" .. plain(c.argument) .. "\\fR" or "", inline(c.text))
end

local function option(o)
  local argument = o.argument and " \\fI" .. plain(o.argument) .. "\\fR" or ""
  local long = ("\\fB\\-\\-%s\\fR%s"):format(plain(o.name), argument)
  return (".TP\n%s%s\n%s"):format(o.letter and ("\\fB\\-%s\\fR%s, "):format(o.letter, argument) or "", long, inline(o.text))
end

local COMMAND = [[
.SH NAME
puerta \- a Lua-scriptable proxy for Redis Cluster and MongoDB sharded clusters
.SH SYNOPSIS
%s
.SH DESCRIPTION
Any plain Redis client talks to puerta as if a whole cluster were one Redis; MongoDB drivers talk to it as if several mongos were one.
.I FILE
is Lua and says what to listen for and where what is asked goes; see
.BR puerta.lua (5).
Without it
.I /etc/puerta/puerta.lua
is read.
.SH OPTIONS
%s
.SH CTL
.B puerta ctl
.I COMMAND
asks a running puerta, whose configuration has
.B admin
= {}, and does as it is told:
%s
.PP
Its options:
%s
.SH SIGNALS
%s
.SH ENVIRONMENT
%s
.SH FILES
.TP
.I /etc/puerta/puerta.lua
the configuration of the service
.TP
.I /run/puerta
sockets and the pid file, for the user that puerta runs as
.SH EXIT STATUS
%s
.SH NOTES
A daemon
.RB ( \-d )
stays in the directory it was started in, so that relative paths keep their meaning. Started by root, puerta becomes
.B user
of its configuration once it listens; that user has to be able to read what a reload reads, and the pid file is removed at the end if the user may write to
its directory.
.SH SEE ALSO
.BR puerta.lua (5)
]]

local function each(list, show)
  local out = {}
  for i, entry in ipairs(list) do
    out[i] = show(entry)
  end
  return table.concat(out, "\n")
end

function M.command(cli)
  local usage = {}
  for i, u in ipairs(cli.usage) do
    usage[i] = ("%s.B puerta\n%s"):format(i > 1 and ".br\n" or "", plain(u.name))
  end
  return HEAD:format("PUERTA", "1", cli.version, "Commands")
    .. COMMAND:format(table.concat(usage, "\n"), each(cli.options, option), each(cli.ctl.commands, command), each(cli.ctl.options, option), tagged(cli.signals), tagged(cli.environment), tagged(cli.status))
end

return M
