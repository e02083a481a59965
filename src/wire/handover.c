#include "wire/handover.h"

#include <errno.h>
#include <string.h>

#include "wire/mongo.h"

/* ---- what each kind consists of ---- */

typedef enum field_type {
  NUMBER, /* 1, 2, 4 or 8 bytes */
  RAW, /* so many bytes */
  BLOB, /* at most so many */
  ASKS /* the count and the asks of a pair */
} field_type;

typedef struct field {
  field_type type;
  uint32_t offset, size;
} field;

#define N(s, f)                                                                                                                  \
  { NUMBER, offsetof(s, f), sizeof(((s *)0)->f) }
#define R(s, f)                                                                                                                  \
  { RAW, offsetof(s, f), sizeof(((s *)0)->f) }
#define B(s, f, most)                                                                                                            \
  { BLOB, offsetof(s, f), most }

static const field hello[] = {N(pt_ho_hello, oldest), N(pt_ho_hello, newest), N(pt_ho_hello, pid),
                              B(pt_ho_hello, version, PT_HO_TEXT)};
static const field text[] = {B(pt_ho_text, text, PT_HO_TEXT)};
static const field listener[] = {N(pt_ho_listener, kind),
                                 N(pt_ho_listener, mode),
                                 N(pt_ho_listener, table),
                                 N(pt_ho_listener, port),
                                 B(pt_ho_listener, name, PT_HO_TEXT),
                                 B(pt_ho_listener, host, PT_HO_TEXT),
                                 N(pt_ho_listener, secret),
                                 R(pt_ho_listener, process_id),
                                 N(pt_ho_listener, view)};
static const field backend[] = {N(pt_ho_backend, listener), N(pt_ho_backend, id), N(pt_ho_backend, epoch),
                                B(pt_ho_backend, name, PT_HO_TEXT)};
static const field node[] = {N(pt_ho_node, listener), N(pt_ho_node, port), B(pt_ho_node, host, PT_HO_TEXT)};
#define C(i) N(pt_ho_totals, counters[i])
#define C8(i) C(i), C(i + 1), C(i + 2), C(i + 3), C(i + 4), C(i + 5), C(i + 6), C(i + 7)
static const field totals[] = {N(pt_ho_totals, next_id), N(pt_ho_totals, upgrades), C8(0), C8(8), C8(16), C8(24)};
static const field ready[] = {R(pt_ho_ready, takes)};
static const field round_of[] = {N(pt_ho_round, round)};
static const field redis[] = {N(pt_ho_redis, listener),
                              N(pt_ho_redis, id),
                              N(pt_ho_redis, since),
                              N(pt_ho_redis, ip),
                              N(pt_ho_redis, port),
                              N(pt_ho_redis, proto),
                              N(pt_ho_redis, authed),
                              B(pt_ho_redis, user, PT_HO_TEXT),
                              B(pt_ho_redis, name, PT_HO_INPUT / 2),
                              B(pt_ho_redis, input, PT_HO_INPUT)};
#define MONGO(s)                                                                                                                 \
  N(s, c.listener), N(s, c.id), N(s, c.since), N(s, c.last), R(s, c.ip), N(s, c.port), N(s, c.flags), N(s, c.identity),          \
      N(s, c.backend), B(s, c.input, PT_HO_INPUT)
static const field pair[] = {
    MONGO(pt_ho_pair),          N(pt_ho_pair, movable),       N(pt_ho_pair, worked),    N(pt_ho_pair, sealed),
    N(pt_ho_pair, compressors), N(pt_ho_pair, epoch),         N(pt_ho_pair, max_wire),  {ASKS, 0, 0},
    B(pt_ho_pair, hello, 4096), B(pt_ho_pair, cursors, 4096), B(pt_ho_pair, txns, 4096)};
static const field request[] = {MONGO(pt_ho_request), N(pt_ho_request, has_session), R(pt_ho_request, lsid)};

#define KIND(fields, s)                                                                                                          \
  { fields, sizeof fields / sizeof *fields, sizeof(s) }
static const struct {
  const field *fields;
  unsigned n;
  size_t size;
} kinds[PT_HO_KINDS] = {
    [PT_HO_HELLO] = KIND(hello, pt_ho_hello),
    [PT_HO_REFUSE] = KIND(text, pt_ho_text),
    [PT_HO_LISTENER] = KIND(listener, pt_ho_listener),
    [PT_HO_BACKEND] = KIND(backend, pt_ho_backend),
    [PT_HO_NODE] = KIND(node, pt_ho_node),
    [PT_HO_TOTALS] = KIND(totals, pt_ho_totals),
    [PT_HO_READY] = KIND(ready, pt_ho_ready),
    [PT_HO_REDIS] = KIND(redis, pt_ho_redis),
    [PT_HO_PAIR] = KIND(pair, pt_ho_pair),
    [PT_HO_REQUEST] = KIND(request, pt_ho_request),
    [PT_HO_GO] = KIND(round_of, pt_ho_round),
    [PT_HO_TAKEN] = KIND(round_of, pt_ho_round),
};

/* ---- bytes ---- */

/* Where writing or reading stands; over: it has met the end. */
typedef struct cursor {
  uint8_t *to;
  const uint8_t *from;
  size_t n;
  bool over;
} cursor;

static void put(cursor *c, const void *bytes, size_t n) {
  if (c->over || n > c->n) {
    c->over = true;
    return;
  }
  if (n)
    memcpy(c->to, bytes, n);
  c->to += n;
  c->n -= n;
}

static void put_number(cursor *c, uint64_t v, unsigned size) {
  uint8_t b[8];
  for (unsigned i = 0; i < size; i++)
    b[i] = (uint8_t)(v >> 8 * i);
  put(c, b, size);
}

static const uint8_t *get(cursor *c, size_t n) {
  static const uint8_t zeros[8];
  if (c->over || n > c->n) {
    c->over = true;
    return zeros;
  }
  c->from += n;
  c->n -= n;
  return c->from - n;
}

static uint64_t get_number(cursor *c, unsigned size) {
  const uint8_t *b = get(c, size);
  uint64_t v = 0;
  for (unsigned i = 0; i < size; i++)
    v |= (uint64_t)b[i] << 8 * i;
  return v;
}

/* Numbers of a struct, by their size. */
static uint64_t load(const void *at, unsigned size) {
  uint8_t a;
  uint16_t b;
  uint32_t c;
  uint64_t d;
  switch (size) {
  case 1:
    memcpy(&a, at, 1);
    return a;
  case 2:
    memcpy(&b, at, 2);
    return b;
  case 4:
    memcpy(&c, at, 4);
    return c;
  default:
    memcpy(&d, at, 8);
    return d;
  }
}

static void store(void *at, unsigned size, uint64_t v) {
  uint8_t a = (uint8_t)v;
  uint16_t b = (uint16_t)v;
  uint32_t c = (uint32_t)v;
  memcpy(at, size == 1 ? (void *)&a : size == 2 ? (void *)&b : size == 4 ? (void *)&c : (void *)&v, size);
}

/* ---- fields ---- */

static void put_asks(cursor *c, const pt_ho_pair *p) {
  put_number(c, p->nasks, 1);
  for (unsigned i = 0; i < p->nasks && i < PT_HO_ASKS; i++) {
    const pt_ho_ask *a = &p->asks[i];
    put_number(c, (uint32_t)a->id, 4);
    put_number(c, a->opcode, 2);
    put_number(c, a->verb, 1);
    put_number(c, a->flags, 1);
    put_number(c, (uint64_t)a->cursor, 8);
  }
  c->over |= p->nasks > PT_HO_ASKS;
}

static void get_asks(cursor *c, pt_ho_pair *p) {
  p->nasks = (uint8_t)get_number(c, 1);
  if (p->nasks > PT_HO_ASKS) {
    c->over = true;
    p->nasks = 0;
  }
  for (unsigned i = 0; i < p->nasks; i++) {
    pt_ho_ask *a = &p->asks[i];
    a->id = (int32_t)(uint32_t)get_number(c, 4);
    a->opcode = (uint16_t)get_number(c, 2);
    a->verb = (uint8_t)get_number(c, 1);
    a->flags = (uint8_t)get_number(c, 1);
    a->cursor = (int64_t)get_number(c, 8);
  }
}

static void put_field(cursor *c, const field *f, const uint8_t *s) {
  if (f->type == NUMBER) {
    put_number(c, load(s + f->offset, f->size), f->size);
  } else if (f->type == RAW) {
    put(c, s + f->offset, f->size);
  } else if (f->type == BLOB) {
    pt_ho_blob b;
    memcpy(&b, s + f->offset, sizeof b);
    put_number(c, b.n, 4);
    put(c, b.at, b.n);
    c->over |= b.n > f->size;
  } else {
    put_asks(c, (const void *)s);
  }
}

static void get_field(cursor *c, const field *f, uint8_t *s) {
  if (f->type == NUMBER) {
    store(s + f->offset, f->size, get_number(c, f->size));
  } else if (f->type == RAW) {
    const uint8_t *p = get(c, f->size);
    if (!c->over)
      memcpy(s + f->offset, p, f->size);
  } else if (f->type == BLOB) {
    pt_ho_blob b = {.n = (uint32_t)get_number(c, 4)};
    c->over |= b.n > f->size;
    b.at = get(c, b.n);
    if (c->over)
      b.n = 0;
    memcpy(s + f->offset, &b, sizeof b);
  } else {
    get_asks(c, (void *)s);
  }
}

/* ---- messages ---- */

static const char magic[4] = {'P', 'T', 'H', 'O'};

int pt_ho_write(uint8_t *out, uint16_t format, pt_ho_kind kind, const void *from) {
  cursor body = {.to = out + PT_HO_HEADER, .n = PT_HO_MAX - PT_HO_HEADER};
  for (unsigned i = 0; i < kinds[kind].n; i++)
    put_field(&body, &kinds[kind].fields[i], from);
  if (body.over)
    return -EMSGSIZE;
  uint32_t n = (uint32_t)(body.to - out) - PT_HO_HEADER;
  cursor head = {.to = out, .n = PT_HO_HEADER};
  put(&head, magic, sizeof magic);
  put_number(&head, format, 2);
  put_number(&head, kind, 2);
  put_number(&head, n, 4);
  put_number(&head, pt_crc32c(out + PT_HO_HEADER, n), 4);
  return (int)(PT_HO_HEADER + n);
}

static int broken(const char **why, const char *what) {
  *why = what;
  return -EPROTO;
}

int pt_ho_check(const uint8_t *msg, size_t n, uint16_t format, pt_ho_kind *kind, const char **why) {
  if (n < PT_HO_HEADER || memcmp(msg, magic, sizeof magic))
    return broken(why, "not a handover message");
  cursor c = {.from = msg + sizeof magic, .n = PT_HO_HEADER - sizeof magic};
  uint16_t f = (uint16_t)get_number(&c, 2), k = (uint16_t)get_number(&c, 2);
  uint32_t length = (uint32_t)get_number(&c, 4), crc = (uint32_t)get_number(&c, 4);
  if (length != n - PT_HO_HEADER || pt_crc32c(msg + PT_HO_HEADER, length) != crc)
    return broken(why, "a damaged message");
  if (f != format && k != PT_HO_HELLO && k != PT_HO_REFUSE)
    return broken(why, "a message of another format");
  if (!k || k >= PT_HO_KINDS)
    return broken(why, "a message of an unknown kind");
  *kind = (pt_ho_kind)k;
  return 0;
}

int pt_ho_read(const uint8_t *msg, size_t n, pt_ho_kind kind, void *to, const char **why) {
  cursor c = {.from = msg + PT_HO_HEADER, .n = n - PT_HO_HEADER};
  memset(to, 0, kinds[kind].size);
  for (unsigned i = 0; i < kinds[kind].n; i++)
    get_field(&c, &kinds[kind].fields[i], to);
  if (c.over)
    return broken(why, "a message that is too short, or a field that is too long");
  if (c.n)
    return broken(why, "a message with something left over");
  return 0;
}
