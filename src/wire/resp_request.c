#include "wire/resp.h"

#include <stdio.h>
#include <string.h>

#include "wire/number.h"

enum {
  ARG_MIN = 6
}; /* the shortest argument: "$0\r\n\r\n" */

static __attribute__((noinline, cold)) int bad(pt_frame *f, const char *text) {
  f->error = text;
  return PT_RESP_BAD;
}

static int expected_bulk(pt_frame *f, uint8_t got) {
  static _Thread_local char text[48];
  if (got == '\r' || got == '\n' || got == 0)
    got = ' '; /* as Redis does, so that the error stays one line */
  snprintf(text, sizeof text, "ERR Protocol error: expected '$', got '%c'", got);
  return bad(f, text);
}

/* The header line at p that pt_header did not take: incomplete, signed, overlong or wrong. PT_RESP_OK: its number and its end. */
static __attribute__((noinline, cold)) int odd_header(pt_frame *f, char type, const uint8_t *p, const uint8_t *end, int64_t *v,
                                                      const uint8_t **next) {
  size_t n = (size_t)(end - p);
  const uint8_t *cr = memchr(p, '\r', n > PT_RESP_MAX_INLINE ? PT_RESP_MAX_INLINE + 1 : n);
  if (!cr && n > PT_RESP_MAX_INLINE)
    return bad(f,
               type == '*' ? "ERR Protocol error: too big mbulk count string" : "ERR Protocol error: too big bulk count string");
  if (!cr || cr + 1 == end)
    return PT_RESP_MORE;
  if (*p != (uint8_t)type)
    return expected_bulk(f, *p);
  if (cr[1] != '\n' || !pt_number(p + 1, (size_t)(cr - p - 1), v))
    return bad(f, type == '*' ? "ERR Protocol error: invalid multibulk length" : "ERR Protocol error: invalid bulk length");
  *next = cr + 2;
  return PT_RESP_OK;
}

static int scan_inline(const uint8_t *buf, size_t n, pt_frame *f) {
  const uint8_t *nl = memchr(buf, '\n', n > PT_RESP_MAX_INLINE ? PT_RESP_MAX_INLINE + 1 : n);
  if (!nl && n > PT_RESP_MAX_INLINE)
    return bad(f, "ERR Protocol error: too big inline request");
  if (!nl)
    return PT_RESP_MORE;
  f->inlined = 1;
  f->len = (uint32_t)(nl + 1 - buf);
  return PT_RESP_OK;
}

/* The count of a multibulk request; 0 for a negative one. */
static inline int count_header(pt_frame *f, const uint8_t *p, const uint8_t *end, const pt_resp_limits *lim,
                               const uint8_t **next) {
  uint32_t argc;
  if (!(*next = pt_header(p, end, &argc))) {
    int64_t v;
    int r = odd_header(f, '*', p, end, &v, next);
    if (r)
      return r;
    argc = v < 0 ? 0 : v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
  }
  if (argc > lim->max_args)
    return bad(f, "ERR Protocol error: invalid multibulk length");
  f->argc = argc;
  return PT_RESP_OK;
}

/* The length of the bulk string at p. */
static inline int bulk_header(pt_frame *f, const uint8_t *p, const uint8_t *end, uint64_t max, uint32_t *len,
                              const uint8_t **next) {
  if (!(*next = pt_header(p, end, len)) || *p != '$') {
    int64_t v;
    int r = odd_header(f, '$', p, end, &v, next);
    if (r)
      return r;
    if (v < 0 || v > UINT32_MAX)
      return bad(f, "ERR Protocol error: invalid bulk length");
    *len = (uint32_t)v;
  }
  return *len > max ? bad(f, "ERR Protocol error: invalid bulk length") : PT_RESP_OK;
}

int pt_request_scan(const uint8_t *buf, size_t n, const pt_resp_limits *lim, pt_frame *f) {
  const uint8_t *p = buf, *end = buf + n, *data;
  f->argc = f->inlined = f->nargs = 0;
  f->need = 0;
  if (!n)
    return PT_RESP_MORE;
  if (*p != '*')
    return scan_inline(buf, n, f);
  int r = count_header(f, p, end, lim, &p);
  if (r)
    return r;
  uint32_t argc = f->argc, len = 0;
  for (uint32_t i = 0; i < argc; i++) {
    r = p == end ? PT_RESP_MORE : bulk_header(f, p, end, lim->max_bulk, &len, &data);
    if (r) {
      size_t least = (size_t)(p - buf) + ARG_MIN;
      f->need = (least > n ? least : n + 1) + (uint64_t)(argc - i - 1) * ARG_MIN;
      return r;
    }
    if ((size_t)(end - data) < (size_t)len + 2) {
      f->need = (uint64_t)(data - buf) + len + 2 + (uint64_t)(argc - i - 1) * ARG_MIN;
      return PT_RESP_MORE;
    }
    if (data[len] != '\r' || data[len + 1] != '\n')
      return bad(f, "ERR Protocol error: invalid bulk length");
    if (i < PT_FRAME_ARGS) {
      f->args[i] = (pt_arg){data, len};
      f->nargs = (uint8_t)(i + 1);
    }
    p = data + len + 2;
  }
  if ((size_t)(p - buf) > UINT32_MAX)
    return bad(f, "ERR Protocol error: invalid multibulk length");
  f->len = (uint32_t)(p - buf);
  return PT_RESP_OK;
}

uint32_t pt_request_args(const uint8_t *frame, size_t len, pt_arg *out, uint32_t max) {
  const pt_resp_limits any = {UINT32_MAX, UINT32_MAX};
  const uint8_t *end = frame + len, *p, *data;
  pt_frame f;
  uint32_t n = 0, size = 0;
  if (!len || count_header(&f, frame, end, &any, &p))
    return 0;
  for (; n < f.argc && !bulk_header(&f, p, end, UINT32_MAX, &size, &data); n++) {
    if (n < max)
      out[n] = (pt_arg){data, size};
    p = data + size + 2;
  }
  return n;
}
