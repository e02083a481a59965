--- Completion of puerta's arguments, for bash and for zsh.

local M = {}

local FILE = "<file>" -- what src/cli_options.h calls a path

local function spellings(o)
  return o.letter and { "-" .. o.letter, "--" .. o.name } or { "--" .. o.name }
end

-- The first words of the usage lines that are commands: "[run] ..." and "ctl ...".
local function commands(cli)
  local out = {}
  for _, u in ipairs(cli.usage) do
    local word = u.name:match "^%[?(%l+)"
    if word then out[#out + 1] = word end
  end
  return table.concat(out, " ")
end

local function ctl_words(cli)
  local out = {}
  for _, c in ipairs(cli.ctl.commands) do
    out[#out + 1] = c.name
  end
  for _, o in ipairs(cli.ctl.options) do
    out[#out + 1] = "--" .. o.name
  end
  return table.concat(out, " ")
end

local BASH = [[
# Completion of puerta for bash. Written by tools/docs.sh from src/cli_options.h and src/ctl/commands.h.
_puerta() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
  if [ "$prev" = = ]; then prev=${COMP_WORDS[COMP_CWORD - 2]}; fi # --option=value: three words to bash
  if [ "$cur" = = ]; then cur="" prev=${COMP_WORDS[COMP_CWORD - 1]}; fi
  COMPREPLY=()
  case $prev in
%s  esac
  if [ "${COMP_WORDS[1]}" = ctl ] && [ "$COMP_CWORD" -gt 1 ]; then
    mapfile -t COMPREPLY < <(compgen -W "%s" -- "$cur")
    return
  fi
  case $cur in
    -*) mapfile -t COMPREPLY < <(compgen -W "%s" -- "$cur") ;;
    *)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "$cur")
      if [ "$COMP_CWORD" = 1 ]; then mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "%s" -- "$cur"); fi
      ;;
  esac
}
complete -F _puerta puerta
]]

local function bash_values(cli, o)
  local words = cli.choices[o.argument]
  if not words then return "return" end
  if words == FILE then return 'compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return' end
  return ('mapfile -t COMPREPLY < <(compgen -W "%s" -- "$cur"); return'):format(words)
end

function M.bash(cli)
  local cases, all = {}, {}
  for _, o in ipairs(cli.options) do
    local names = spellings(o)
    all[#all + 1] = table.concat(names, " ")
    if o.argument then cases[#cases + 1] = ("    %s) %s ;;\n"):format(table.concat(names, " | "), bash_values(cli, o)) end
  end
  for _, o in ipairs(cli.ctl.options) do
    if o.argument then cases[#cases + 1] = ("    --%s) %s ;;\n"):format(o.name, bash_values(cli, o)) end
  end
  return BASH:format(table.concat(cases), ctl_words(cli), table.concat(all, " "), commands(cli))
end

local ZSH = [=[
#compdef puerta
# Completion of puerta for zsh. Written by tools/docs.sh from src/cli_options.h and src/ctl/commands.h.
if [[ $words[2] == ctl && CURRENT -gt 2 ]]; then
  _arguments '2:command:(%s)' \
%s    '*:argument:(debug info warn error)'
  return
fi
_arguments -s \
%s  '1:file or command:{ compadd %s; _files }' \
  '*:file:_files'
]=]

-- Inside of a quoted specification.
local function zsh_text(text) return (text:gsub("'", "'\\''"):gsub("[%[%]:]", "\\%0")) end

local function zsh_value(cli, o)
  local words = cli.choices[o.argument]
  if not o.argument then return "" end
  if words == FILE then return ":file:_files" end
  return (":%s:%s"):format(o.argument, words and "(" .. words .. ")" or "")
end

function M.zsh(cli)
  local lines, ctl, words = {}, {}, {}
  for i, c in ipairs(cli.ctl.commands) do
    words[i] = c.name
  end
  for i, o in ipairs(cli.ctl.options) do
    ctl[i] = ("    '--%s%s[%s]%s' \\\n"):format(o.name, o.argument and "=" or "", zsh_text(o.text), zsh_value(cli, o))
  end
  for _, o in ipairs(cli.options) do
    local what, value = "[" .. zsh_text(o.text) .. "]", zsh_value(cli, o)
    local long = "--" .. o.name .. (o.argument and "=" or "")
    if o.letter then
      lines[#lines + 1] = ("  '(-%s --%s)'{-%s%s,%s}'%s%s' \\\n"):format(o.letter, o.name, o.letter, o.argument and "+" or "", long, what, value)
    else
      lines[#lines + 1] = ("  '%s%s%s' \\\n"):format(long, what, value)
    end
  end
  return ZSH:format(table.concat(words, " "), table.concat(ctl), table.concat(lines), commands(cli))
end

return M
