/* Inline commands: a line typed by a person, split at blanks, with "double" (escapes) and 'single' (only \') quotes. */
#include "wire/resp.h"

#include <stdio.h>
#include <string.h>

enum {
  UNBALANCED = -1,
  NO_ROOM = -2
};

static int is_blank(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* What ends a bare word: \v and \f do not. */
static int ends_word(uint8_t c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

static int hex(uint8_t c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* One character inside double quotes, which may be an escape. Returns how many bytes it took. */
static size_t escaped(const uint8_t *p, const uint8_t *end, uint8_t *c) {
  *c = *p;
  if (*p != '\\' || end - p < 2)
    return 1;
  if (p[1] == 'x' && end - p >= 4 && hex(p[2]) >= 0 && hex(p[3]) >= 0) {
    *c = (uint8_t)(hex(p[2]) << 4 | hex(p[3]));
    return 4;
  }
  static const char from[] = "nrtba", to[] = "\n\r\t\b\a";
  const char *at = memchr(from, p[1], sizeof from - 1);
  *c = at ? (uint8_t)to[at - from] : p[1];
  return 2;
}

/* Reads the word at *at, which is no blank, and moves behind it. Writes it to out when that is not NULL. Its length or UNBALANCED. */
static long word(const uint8_t **at, const uint8_t *end, uint8_t *out) {
  const uint8_t *p = *at;
  uint8_t quote = 0;
  long n = 0;
  while (p < end && (quote || !ends_word(*p))) {
    uint8_t c = *p;
    if (c == quote) {
      if (p + 1 < end && !is_blank(p[1]))
        return UNBALANCED;
      quote = 0;
      p++;
      break;
    }
    if (!quote && (c == '"' || c == '\'')) {
      quote = c;
      p++;
      continue;
    }
    if (quote == '"') {
      p += escaped(p, end, &c);
    } else if (quote && c == '\\' && end - p > 1 && p[1] == '\'') {
      c = '\'';
      p += 2;
    } else {
      p++;
    }
    if (out)
      out[n] = c;
    n++;
  }
  *at = p;
  return quote ? UNBALANCED : n;
}

/* The start of the next word, or end. */
static const uint8_t *skip_blanks(const uint8_t *p, const uint8_t *end) {
  while (p < end && is_blank(*p))
    p++;
  return p;
}

long pt_inline_to_resp(const uint8_t *line, size_t n, uint8_t *out, size_t cap) {
  const uint8_t *end = line + n;
  if (n && end[-1] == '\n')
    end--;
  if (end > line && end[-1] == '\r')
    end--;
  unsigned argc = 0;
  for (const uint8_t *p = skip_blanks(line, end); p < end; p = skip_blanks(p, end), argc++)
    if (word(&p, end, NULL) < 0)
      return UNBALANCED;
  if (!argc)
    return 0;
  char head[32];
  size_t len = (size_t)snprintf(head, sizeof head, "*%u\r\n", argc);
  if (len > cap)
    return NO_ROOM;
  memcpy(out, head, len);
  for (const uint8_t *p = skip_blanks(line, end); p < end; p = skip_blanks(p, end)) {
    const uint8_t *start = p;
    long size = word(&p, end, NULL);
    size_t h = (size_t)snprintf(head, sizeof head, "$%ld\r\n", size);
    if (cap - len < h + (size_t)size + 2)
      return NO_ROOM;
    memcpy(out + len, head, h);
    word(&start, end, out + len + h);
    len += h + (size_t)size;
    out[len++] = '\r';
    out[len++] = '\n';
  }
  return (long)len;
}
