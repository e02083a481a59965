#!/bin/bash
# The live page of the admin server as C: its parts put together into one HTML file, and the Content-Security-Policy that allows exactly these
# inline parts (by hash) and requests to where it came from. See src/core/admin_page.h.
# Usage: tools/embed_page.sh OUT.c   (from the root of the tree)
#        tools/embed_page.sh --html  (the page alone, to stdout)
set -euo pipefail
page=src/page
style=$(cat $page/style.css)
script=$(cat $page/{base,history,chart,slots,cards,page}.js)

html() {
  while IFS= read -r line; do
    case $line in
      '<style>@style@</style>') printf '<style>%s</style>\n' "$style" ;;
      '<script>@script@</script>') printf '<script>%s</script>\n' "$script" ;;
      *) printf '%s\n' "$line" ;;
    esac
  done <$page/page.html
}
hash() { # of stdin, as CSP wants it
  printf "sha256-%s" "$(printf '%b' "$(sha256sum | cut -c1-64 | sed 's/../\\x&/g')" | base64)"
}

[ "$1" != --html ] || { html && exit; }
{
  echo '/* Made by tools/embed_page.sh. */'
  echo '#include "core/admin_page.h"'
  echo 'const char pt_admin_page[] = {'
  html | od -An -v -tu1 | sed 's/  */,/g; s/^,//; s/$/,/'
  echo '};'
  echo 'const size_t pt_admin_page_size = sizeof pt_admin_page;'
  printf 'const char pt_admin_page_csp[] =\n  "default-src '\''none'\''; connect-src '\''self'\''; img-src data:; "\n'
  printf '  "script-src '\''%s'\''; style-src '\''%s'\''; "\n' "$(printf %s "$script" | hash)" "$(printf %s "$style" | hash)"
  printf '  "base-uri '\''none'\''; form-action '\''none'\''; frame-ancestors '\''none'\''";\n'
} >"$1.tmp"
mv "$1.tmp" "$1"
