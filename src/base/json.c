#include "base/json.h"

#include <string.h>

/* Length of the well-formed UTF-8 sequence at s, 0: none. */
static size_t utf8(const unsigned char *s) {
  size_t n = s[0] < 0x80                    ? 1
             : s[0] >= 0xc2 && s[0] <= 0xdf ? 2
             : (s[0] & 0xf0) == 0xe0        ? 3
             : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4
                                            : 0;
  for (size_t i = 1; i < n; i++)
    if ((s[i] & 0xc0) != 0x80)
      return 0;
  bool bad = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
             (s[0] == 0xf4 && s[1] > 0x8f);
  return bad ? 0 : n;
}

static void quote(FILE *out, const char *text) {
  const unsigned char *s = (const unsigned char *)text;
  fputc('"', out);
  while (*s) {
    size_t n = utf8(s);
    if (*s == '"' || *s == '\\')
      fprintf(out, "\\%c", *s);
    else if (*s < 0x20 || *s == 0x7f)
      fprintf(out, "\\u%04x", *s);
    else if (!n)
      fputs("\\ufffd", out);
    else
      fwrite(s, 1, n, out);
    s += n ? n : 1;
  }
  fputc('"', out);
}

static void begin(pt_json *j, const char *key) {
  if (j->more)
    fputc(',', j->out);
  j->more = true;
  if (!key)
    return;
  quote(j->out, key);
  fputc(':', j->out);
}

void pt_json_open(pt_json *j, const char *key, char bracket) {
  begin(j, key);
  fputc(bracket, j->out);
  j->more = false;
}

void pt_json_close(pt_json *j, char bracket) {
  fputc(bracket, j->out);
  j->more = true;
}

void pt_json_text(pt_json *j, const char *key, const char *text) {
  begin(j, key);
  quote(j->out, text);
}

void pt_json_number(pt_json *j, const char *key, uint64_t v) {
  begin(j, key);
  fprintf(j->out, "%llu", (unsigned long long)v);
}

void pt_json_real(pt_json *j, const char *key, double v) {
  begin(j, key);
  fprintf(j->out, "%.6f", v);
}

void pt_json_bool(pt_json *j, const char *key, bool v) {
  begin(j, key);
  fputs(v ? "true" : "false", j->out);
}

void pt_json_null(pt_json *j, const char *key) {
  begin(j, key);
  fputs("null", j->out);
}
