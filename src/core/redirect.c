#include "core/redirect.h"

#include <string.h>

#include "base/crc16.h"

static int starts(const uint8_t *line, size_t n, const char *word) {
  size_t w = strlen(word);
  return n > w && !memcmp(line, word, w) && (line[w] == ' ' || line[w] == '\r');
}

/* Digits at p[0..n) as a number up to max; returns how many were read, 0: none or too large. */
static size_t number(const uint8_t *p, size_t n, unsigned max, unsigned *out) {
  size_t i = 0;
  unsigned v = 0;
  for (; i < n && p[i] >= '0' && p[i] <= '9'; i++)
    if ((v = v * 10 + (unsigned)(p[i] - '0')) > max)
      return 0;
  *out = v;
  return i;
}

/* "3999 127.0.0.1:6381": the port follows the last colon, so that IPv6 needs no brackets. */
static int target(const uint8_t *p, size_t n, pt_redirect_target *t) {
  size_t used = number(p, n, PT_SLOTS - 1, &t->slot);
  if (!used || used >= n || p[used] != ' ')
    return 0;
  p += used + 1;
  n -= used + 1;
  const uint8_t *colon = memrchr(p, ':', n);
  if (!colon || (size_t)(colon - p) >= sizeof t->host)
    return 0;
  size_t host = (size_t)(colon - p);
  unsigned port = 0;
  if (number(colon + 1, n - host - 1, 65535, &port) != n - host - 1 || !port)
    return 0;
  if (host == 1 && *p == '?')
    host = 0;
  if (host > 2 && p[0] == '[' && p[host - 1] == ']')
    p++, host -= 2;
  memcpy(t->host, p, host);
  t->host[host] = 0;
  t->port = (uint16_t)port;
  return memchr(t->host, 0, host) == NULL;
}

pt_redirect pt_redirect_parse(const uint8_t *line, size_t n, pt_redirect_target *t) {
  if (n < 4)
    return PT_REDIRECT_NONE;
  const uint8_t *p = line + 1;
  size_t left = n - 3; /* without "-" and CRLF */
  switch (*p) {
  case 'M':
    if (starts(p, n - 1, "MOVED"))
      return left > 6 && target(p + 6, left - 6, t) ? PT_REDIRECT_MOVED : PT_REDIRECT_NONE;
    return starts(p, n - 1, "MASTERDOWN") ? PT_REDIRECT_DOWN : PT_REDIRECT_NONE;
  case 'A':
    return starts(p, n - 1, "ASK") && left > 4 && target(p + 4, left - 4, t) ? PT_REDIRECT_ASK : PT_REDIRECT_NONE;
  case 'T':
    return starts(p, n - 1, "TRYAGAIN") ? PT_REDIRECT_LATER : PT_REDIRECT_NONE;
  case 'C':
    return starts(p, n - 1, "CLUSTERDOWN") ? PT_REDIRECT_DOWN : PT_REDIRECT_NONE;
  case 'L':
    return starts(p, n - 1, "LOADING") ? PT_REDIRECT_DOWN : PT_REDIRECT_NONE;
  case 'R':
    return starts(p, n - 1, "READONLY") ? PT_REDIRECT_DOWN : PT_REDIRECT_NONE;
  default:
    return PT_REDIRECT_NONE;
  }
}
