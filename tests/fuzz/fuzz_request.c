/* Request framing: a prefix never contradicts the whole, arguments lie inside the frame, an inline line becomes a frame that scans. */
#include <stdlib.h>
#include <string.h>

#include "wire/resp.h"

static void check(int ok) {
  if (!ok)
    abort();
}

static const pt_resp_limits limits = {.max_bulk = 1 << 20, .max_args = 4096};

/* The arguments in f are the first ones of the frame and lie inside the n bytes at buf. */
static void check_args(const pt_frame *f, const uint8_t *buf, size_t n) {
  check(f->nargs <= PT_FRAME_ARGS && f->nargs <= f->argc);
  for (int i = 0; i < f->nargs; i++)
    check(f->args[i].p > buf && f->args[i].p + f->args[i].n + 2 <= buf + n);
}

static void check_whole(const pt_frame *f, const uint8_t *buf) {
  static pt_arg all[4096];
  check_args(f, buf, f->len);
  check(f->nargs == (f->argc < PT_FRAME_ARGS ? f->argc : PT_FRAME_ARGS));
  check(pt_request_args(buf, f->len, all, 4096) == f->argc);
  for (uint32_t i = 0; i < f->argc; i++)
    check(all[i].p + all[i].n + 2 <= buf + f->len);
  for (int i = 0; i < f->nargs; i++)
    check(all[i].p == f->args[i].p && all[i].n == f->args[i].n);
}

static void check_inline(const uint8_t *line, size_t n) {
  size_t cap = 8 * n + 32;
  uint8_t *out = malloc(cap);
  long len = pt_inline_to_resp(line, n, out, cap);
  check(len >= -1 && (size_t)(len > 0 ? len : 0) <= cap);
  if (len > 0) {
    const pt_resp_limits any = {UINT32_MAX, UINT32_MAX};
    pt_frame f;
    check(pt_request_scan(out, (size_t)len, &any, &f) == PT_RESP_OK && f.len == len && f.argc && !f.inlined);
    check(pt_inline_to_resp(line, n, out, (size_t)len - 1) == -2);
  }
  free(out);
}

/* Scans a copy of its own size, so that a read too far is seen. */
static int scan_copy(const uint8_t *buf, size_t n, pt_frame *f) {
  uint8_t *copy = malloc(n ? n : 1);
  memcpy(copy, buf, n);
  int e = pt_request_scan(copy, n, &limits, f);
  if (e == PT_RESP_OK && !f->inlined)
    check_whole(f, copy);
  else if (e == PT_RESP_MORE)
    check_args(f, copy, n);
  free(copy);
  return e;
}

int LLVMFuzzerTestOneInput(const uint8_t *buf, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *buf, size_t n) {
  size_t at = 0;
  for (int frames = 0; at < n && frames < 64; frames++) {
    pt_frame f, part;
    int e = scan_copy(buf + at, n - at, &f);
    size_t whole = e == PT_RESP_OK ? f.len : n - at;
    /* All prefixes of a short frame, 64 of a long one. */
    for (size_t cut = 0; cut < whole; cut += 1 + whole / 64) {
      int p = scan_copy(buf + at, cut, &part);
      if (p == PT_RESP_BAD)
        check(e == PT_RESP_BAD && !strncmp(part.error, "ERR Protocol error: ", 20));
      else
        check(p == PT_RESP_MORE && (!part.need || part.need > cut) && (e != PT_RESP_OK || part.need <= whole));
    }
    if (e != PT_RESP_OK)
      break;
    check(f.len && f.len <= n - at);
    if (f.inlined)
      check_inline(buf + at, f.len);
    at += f.len;
  }
  check_inline(buf, n < PT_RESP_MAX_INLINE ? n : PT_RESP_MAX_INLINE);
  return 0;
}
