#include "wire/resp.h"

#include <string.h>

#include "wire/number.h"

#define BULK_MAX (1ull << 40) /* far above what a server can hold; keeps sums from overflowing */
#define COUNT_MAX (1ull << 32) /* elements of one aggregate */
#define LEFT_MAX (1ull << 40) /* elements open at once */
enum {
  NUMBER_MAX = 24
}; /* bytes of a line that holds one 64-bit number */

enum {
  NIL = -1
}; /* what number_line gives for "-1" */

/* Behind the CRLF of the text line at p, NULL: not there. The first byte is no part of it. */
static inline const uint8_t *text_end(const uint8_t *p, const uint8_t *end) {
  while (++p < end && (p = memchr(p, '\n', (size_t)(end - p))))
    if (p[-1] == '\r')
      return p + 1;
  return NULL;
}

/* A number line that pt_header did not take. PT_RESP_OK: *v and *next are set. */
static __attribute__((noinline, cold)) int odd_number(const uint8_t *p, const uint8_t *end, int64_t *v, const uint8_t **next) {
  size_t n = (size_t)(end - p);
  const uint8_t *cr = memchr(p, '\r', n > NUMBER_MAX ? NUMBER_MAX : n);
  if (!cr)
    return n >= NUMBER_MAX ? PT_RESP_BAD : PT_RESP_MORE;
  if (cr + 1 == end)
    return PT_RESP_MORE;
  *next = cr + 2;
  return cr[1] == '\n' && pt_number(p + 1, (size_t)(cr - p - 1), v) ? PT_RESP_OK : PT_RESP_BAD;
}

/* The number of the line at p and where the line ends. */
static inline int number_line(const uint8_t *p, const uint8_t *end, int64_t *v, const uint8_t **next) {
  uint32_t small;
  if ((*next = pt_header(p, end, &small))) {
    *v = small;
    return PT_RESP_OK;
  }
  if (end - p >= 5 && !memcmp(p + 1, "-1\r\n", 4)) {
    *next = p + 5;
    *v = NIL;
    return PT_RESP_OK;
  }
  return odd_number(p, end, v, next);
}

/* Passes bytes of an unfinished payload. Behind them, or NULL when it does not end in CRLF. */
static const uint8_t *pass_bulk(pt_reply *r, const uint8_t *p, const uint8_t *end) {
  if (r->bulk_left > 2) {
    uint64_t n = r->bulk_left - 2, have = (uint64_t)(end - p);
    n = n < have ? n : have;
    p += n;
    r->bulk_left -= n;
  }
  for (; p < end && r->bulk_left && r->bulk_left <= 2; p++, r->bulk_left--)
    if (*p != (r->bulk_left == 2 ? '\r' : '\n'))
      return NULL;
  return p;
}

/* Passes text of which no end is in sight, but keeps a CR that may begin it. */
static const uint8_t *pass_text(pt_reply *r, const uint8_t *end) {
  r->in_line = 1;
  return end[-1] == '\r' ? end - 1 : end;
}

/* Takes the value, or the head of the aggregate, at *at < end. PT_RESP_MORE: *at stands behind what was used up. */
static inline int take(pt_reply *r, const uint8_t **at, const uint8_t *end) {
  const uint8_t *p = *at, *next;
  int64_t v;
  int e;
  switch (*p) {
  case '+':
    if (end - p >= 5 && !memcmp(p, "+OK\r\n", 5)) {
      next = p + 5;
      break;
    }
    __attribute__((fallthrough));
  case '-':
  case ',':
  case '(':
    if (!(next = text_end(p, end))) {
      if (end - p > PT_RESP_MAX_INLINE)
        *at = pass_text(r, end);
      return PT_RESP_MORE;
    }
    break;
  case ':':
    if ((e = number_line(p, end, &v, &next)))
      return e;
    break;
  case '$':
  case '=':
  case '!':
    if ((e = number_line(p, end, &v, &next)))
      return e;
    if (v < 0 && !(v == NIL && *p == '$'))
      return PT_RESP_BAD;
    if (v < 0)
      break;
    if ((uint64_t)v > BULK_MAX)
      return PT_RESP_BAD;
    if ((uint64_t)(end - next) >= (uint64_t)v + 2) {
      next += v + 2;
      if (next[-2] != '\r' || next[-1] != '\n')
        return PT_RESP_BAD;
      break;
    }
    r->bulk_left = (uint64_t)v + 2;
    *at = pass_bulk(r, next, end);
    return *at ? PT_RESP_MORE : PT_RESP_BAD;
  case '>':
    if (r->inside)
      return PT_RESP_BAD;
    __attribute__((fallthrough));
  case '*':
  case '~':
  case '%':
  case '|':
    if ((e = number_line(p, end, &v, &next)))
      return e;
    if (v == NIL && *p == '*')
      break;
    if (v < 0 || (uint64_t)v > COUNT_MAX || r->left > LEFT_MAX)
      return PT_RESP_BAD;
    r->left += *p == '%' || *p == '|' ? 2 * (uint64_t)v : (uint64_t)v;
    r->left += *p == '|'; /* the value it goes with is still to come */
    break;
  case '_':
    if (end - p < 3)
      return PT_RESP_MORE;
    if (p[1] != '\r' || p[2] != '\n')
      return PT_RESP_BAD;
    next = p + 3;
    break;
  case '#':
    if (end - p < 4)
      return PT_RESP_MORE;
    if ((p[1] != 't' && p[1] != 'f') || p[2] != '\r' || p[3] != '\n')
      return PT_RESP_BAD;
    next = p + 4;
    break;
  default:
    return PT_RESP_BAD;
  }
  r->left--;
  *at = next;
  return PT_RESP_OK;
}

/* Goes on where the last call stopped inside a payload or a text line. */
static const uint8_t *resume(pt_reply *r, const uint8_t *p, const uint8_t *end) {
  if (r->in_line) {
    const uint8_t *next = p < end ? text_end(p, end) : NULL;
    if (!next)
      return p < end ? pass_text(r, end) : p;
    r->in_line = 0;
    p = next;
  } else if (!(p = pass_bulk(r, p, end)) || r->bulk_left) {
    return p;
  }
  r->left--;
  return p;
}

int pt_reply_scan(pt_reply *r, const uint8_t *buf, size_t n, size_t *used) {
  const uint8_t *p = buf, *end = buf + n;
  int e = PT_RESP_OK;
  *used = 0;
  if (!r->inside)
    r->left = 1;
  else if (r->bulk_left || r->in_line)
    p = resume(r, p, end);
  if (!p)
    return PT_RESP_BAD;
  if (r->bulk_left || r->in_line)
    e = PT_RESP_MORE;
  while (!e && r->left) {
    e = p < end ? take(r, &p, end) : PT_RESP_MORE;
    r->inside |= p != buf;
  }
  if (e == PT_RESP_BAD)
    return e;
  *used = (size_t)(p - buf);
  if (e == PT_RESP_OK)
    r->inside = 0;
  return e;
}
