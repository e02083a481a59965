/* RESP2 and RESP3 framing: finds where requests and replies begin and end, in place, over any fragmentation.
 *
 * Pure functions over bytes: no allocation, no globals, any thread. All offsets are relative to the buffer given.
 * Source: https://redis.io/docs/latest/develop/reference/protocol-spec/ and the error texts of redis-server 7.0.
 */
#ifndef PT_WIRE_RESP_H
#define PT_WIRE_RESP_H

#include <stddef.h>
#include <stdint.h>

enum {
  PT_RESP_MAX_ARGS = 1024 * 1024, /* default of max_args; "invalid multibulk length" above it */
  PT_RESP_MAX_INLINE = 64 * 1024, /* inline request or header line, "too big inline request" above it */
  PT_RESP_MAX_DEPTH = 32, /* nesting of a reply that pt_reply_tree takes; pt_reply_scan has no limit */
};

/* Limits of one listener. */
typedef struct pt_resp_limits {
  uint64_t max_bulk; /* bytes of one bulk string, Redis' default is 512 MiB; never more than UINT32_MAX is accepted */
  uint32_t max_args; /* arguments of one request, default PT_RESP_MAX_ARGS */
} pt_resp_limits;

/* One argument of a request: n bytes at p, inside the caller's buffer. */
typedef struct pt_arg {
  const uint8_t *p;
  uint32_t n;
} pt_arg;

enum {
  PT_FRAME_ARGS = 8
};

/* A request found at the start of a buffer. The first PT_FRAME_ARGS arguments are kept; pt_request_args walks all of them. */
typedef struct pt_frame {
  uint32_t len; /* bytes of the whole frame, headers and CRLFs included (PT_RESP_OK only) */
  uint32_t argc; /* arguments, 0 for "*0" and "*-1" (to be skipped without a reply) and while the count is not known */
  uint8_t inlined; /* 1: an inline command, argc is 0, len the bytes of the line: pass them to pt_inline_to_resp */
  uint8_t nargs; /* valid entries of args: min(argc, PT_FRAME_ARGS), fewer while incomplete */
  uint64_t need; /* PT_RESP_MORE only: total frame bytes known to be needed so far (0: unknown yet), may exceed 4 GiB */
  const char *error; /* PT_RESP_BAD only: Redis' text without "-" and CRLF, e.g. "ERR Protocol error: invalid bulk length";
                        a constant, or (expected '$', got 'x') valid until this thread's next call */
  pt_arg args[PT_FRAME_ARGS];
} pt_frame;

enum {
  PT_RESP_OK = 0,
  PT_RESP_MORE = 1,
  PT_RESP_BAD = -1
};

/* Scans one request at buf[0..n). Hot: the multibulk path touches no byte of a payload.
 * PT_RESP_OK: f is filled. PT_RESP_MORE: incomplete; f->nargs/args hold the complete arguments so far and f->need what is known,
 * so that a caller can route a large request before it is whole. PT_RESP_BAD: f->error is what to answer before closing.
 * Stricter than Redis in one thing: it skips two bytes where a CRLF belongs, here they have to be one. */
int pt_request_scan(const uint8_t *buf, size_t n, const pt_resp_limits *lim, pt_frame *f);

/* Rewrites an inline line of n bytes, its newline included or not (quotes and escapes as Redis has them), as a multibulk frame into
 * out[0..cap). Returns its length, 0 for an empty line (skip it), -1 unbalanced quotes (answer PT_RESP_UNBALANCED, close),
 * -2 does not fit (cap >= 8 * n + 32 always fits). */
long pt_inline_to_resp(const uint8_t *line, size_t n, uint8_t *out, size_t cap);
#define PT_RESP_UNBALANCED "ERR Protocol error: unbalanced quotes in request"

/* Walks the arguments of a complete multibulk frame from PT_RESP_OK: fills out[0..max), returns how many there are (argc). */
uint32_t pt_request_args(const uint8_t *frame, size_t len, pt_arg *out, uint32_t max);

/* The resumable reply scanner: one per upstream connection, zeroed before the first byte. */
typedef struct pt_reply {
  uint64_t bulk_left; /* payload bytes (CRLF included) still to pass */
  uint64_t left; /* values still to come: a reply counts one, an aggregate adds its elements; so nesting has no limit */
  uint8_t inside; /* 1 while a reply is begun and not ended */
  uint8_t in_line; /* 1 inside a text line that is passed in pieces */
} pt_reply;

/* Consumes bytes of one reply from buf[0..n). Returns PT_RESP_OK when the reply ended (*used bytes belong to it), PT_RESP_MORE when all
 * *used bytes belong to the unfinished reply and more are needed (bytes after *used are an unfinished line: keep them and call again with
 * more; *used == n otherwise), PT_RESP_BAD when it is no RESP. A line is consumed whole or not at all, but for text ('+' '-' ',' '(') longer
 * than PT_RESP_MAX_INLINE, which scripts can make: it is passed in pieces. RESP3 attributes ('|') are part of the reply that follows
 * them; a push ('>') is a reply of its own; streamed forms ("$?", "*?") are PT_RESP_BAD, no server sends them.
 * Hot: "+OK", ":1", "$5\r\n..." and "$-1" complete in the buffer take the straight path. */
int pt_reply_scan(pt_reply *r, const uint8_t *buf, size_t n, size_t *used);

/* Cold: a complete reply as a tree for the proxy's own conversations (topology, HELLO). */
typedef struct pt_node {
  char type; /* '+' '-' ':' '$' '*' '%' '~' '#' ',' '_' '(' '=' '>'; null bulk and null array are '_', '!' is '-' */
  int64_t num; /* ':' value, '#' 0/1, else number of children ('%': keys and values both counted) */
  const uint8_t *p; /* text of + - $ = , ( ; that of '=' without its "txt:" */
  uint32_t n; /* bytes at p */
  struct pt_node *child; /* first child */
  struct pt_node *next; /* next sibling */
} pt_node;

/* Parses one whole reply at the start of buf[0..n) into nodes taken from pool[0..max). Returns the root (pool[0]) or NULL: incomplete, broken,
 * deeper than PT_RESP_MAX_DEPTH or more than max nodes. Attributes are left out. The nodes point into buf. */
pt_node *pt_reply_tree(const uint8_t *buf, size_t n, pt_node *pool, size_t max);

#endif
