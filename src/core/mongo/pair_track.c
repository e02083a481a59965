/* What the frames of a pair say. Requests are looked into when their start is there, replies are scanned as they pass. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mongo/pair_state.h"
#include "core/mongo/sample.h"
#include "wire/mongo_compress.h"

enum {
  CURSOR_MS = 600000, /* what a server does with cursors and transactions nobody touches */
  TXN_MS = 60000,
  EMPTY = 5 /* bytes of a document without elements */
};

/* ---- what is open ---- */

static void open_drop_at(pt_opens *o, uint32_t i) {
  o->at[i] = o->at[--o->n];
  if (o->n)
    return;
  free(o->at);
  *o = (pt_opens){0};
}

static void open_drop(pt_opens *o, uint64_t key) {
  for (uint32_t i = 0; i < o->n; i++)
    if (o->at[i].key == key) {
      open_drop_at(o, i);
      return;
    }
}

/* Without memory it is not remembered: a drain may then come too early for it. */
static void open_touch(pt_opens *o, uint64_t key, uint64_t now) {
  uint32_t oldest = 0;
  for (uint32_t i = 0; i < o->n; i++) {
    if (o->at[i].key == key) {
      o->at[i].last = now;
      return;
    }
    if (o->at[i].last < o->at[oldest].last)
      oldest = i;
  }
  if (o->n == PT_PAIR_OPEN_MAX)
    open_drop_at(o, oldest);
  if (o->n == o->cap) {
    uint32_t cap = o->cap ? o->cap * 2 : 2;
    struct pt_open *more = realloc(o->at, cap * sizeof *more);
    if (!more)
      return;
    o->at = more;
    o->cap = cap;
  }
  o->at[o->n++] = (struct pt_open){key, now};
}

static bool any_open(pt_opens *o, uint64_t now, uint64_t ms) {
  for (uint32_t i = o->n; i-- > 0;)
    if (now - o->at[i].last > ms * PT_NS_PER_MS)
      open_drop_at(o, i);
  return o->n;
}

bool pt_pair_holds(pt_pair *p, uint64_t now) {
  /* Replies may be compressed: what they open cannot be seen. */
  return p->sealed || any_open(&p->cursors, now, CURSOR_MS) || any_open(&p->txns, now, TXN_MS);
}

void pt_pair_forget(pt_pair *p) {
  free(p->cursors.at);
  free(p->txns.at);
  p->cursors = p->txns = (pt_opens){0};
  p->sealed = false;
}

/* ---- who waits ---- */

void pt_pair_answered(pt_pair *p) {
  p->head = (p->head + 1) % PT_PAIR_ASKS;
  p->n--;
}

static void push(pt_pair *p, pt_ask a) {
  if (p->n == PT_PAIR_ASKS) /* the oldest is sealed, and has perhaps never waited */
    pt_pair_answered(p);
  *pt_pair_ask(p, p->n++) = a;
}

bool pt_pair_only_hello(pt_pair *p) {
  const pt_ask *a = pt_pair_ask(p, 0);
  return p->n == 1 && a->verb == PT_MVERB_HELLO && !(a->flags & PT_ASK_SEALED);
}

/* ---- requests ---- */

static void authenticates(pt_pair *p) {
  p->movable = false;
  if (p->hello)
    pt_chunk_unref(p->hello);
  p->hello = NULL;
}

static void note_transaction(pt_pair *p, const pt_mongo_command *cmd, uint64_t now) {
  uint64_t key = 0;
  if (cmd->lsid)
    memcpy(&key, cmd->lsid, sizeof key);
  if (cmd->verb == PT_MVERB_COMMIT || cmd->verb == PT_MVERB_ABORT)
    open_drop(&p->txns, key);
  else
    open_touch(&p->txns, key, now);
}

static void note_hello(pt_pair *p, pt_ask *a, const pt_mongo_message *m) {
  pt_client_hello h;
  const char *odd;
  if (pt_client_hello_read(&h, m, &odd))
    return;
  if (h.speculative)
    authenticates(p);
  if (h.awaitable)
    a->cursor = h.max_await_ms;
}

static void note_command(pt_pair *p, pt_ask *a, const pt_mongo_message *m, const pt_mongo_command *cmd, uint64_t now) {
  a->verb = (uint8_t)cmd->verb;
  a->known = cmd->known;
  a->cursor = cmd->cursor;
  a->flags |= (cmd->in_transaction ? PT_ASK_TXN : 0) | (cmd->txn_number >= 0 ? PT_ASK_RETRYABLE : 0) |
              (cmd->exhaust ? PT_ASK_EXHAUST : 0);
  if (cmd->in_transaction)
    note_transaction(p, cmd, now);
  if (cmd->verb == PT_MVERB_HELLO)
    note_hello(p, a, m);
  if (cmd->verb == PT_MVERB_SASL_START || cmd->verb == PT_MVERB_AUTHENTICATE)
    authenticates(p);
  if (cmd->verb == PT_MVERB_KILL_CURSORS) {
    uint32_t state = 0, at;
    int64_t id;
    while (pt_mongo_kill_next(m, cmd, &state, &id, &at) > 0)
      open_drop(&p->cursors, (uint64_t)id);
  }
}

/* Tokens of Kerberos may be larger than what is looked at. */
static bool starts_sasl(const uint8_t *p) { return p[20] == 0 && (!memcmp(p + 26, "sasl", 4) || !memcmp(p + 26, "authe", 5)); }

/* A plain message of which have bytes are there: all, or PT_PAIR_PEEK and more. */
static int note_plain(pt_mongo_client *c, const uint8_t *p, uint32_t have, const char **why) {
  pt_pair *pair = c->pair;
  pt_mongo_message m;
  pt_mongo_command cmd;
  const char *odd = NULL;
  int r = pt_mongo_parse(&m, p, have, PT_MONGO_MAX_MESSAGE, why);
  if (r < 0)
    return r;
  if (m.body && m.body_len == EMPTY && !m.ns) {
    *why = "an empty command document";
    return -EPROTO;
  }
  pt_ask a = {.id = m.h.request_id, .opcode = (uint16_t)m.h.opcode, .verb = PT_MVERB_OTHER};
  a.stamp = c->mongo->worker->now_us;
  /* What is odd in a command that is good BSON is for the backend to say. */
  bool command = r == PT_MONGO_OK && (!m.ns || strstr(m.ns, ".$cmd"));
  command = command && !pt_mongo_command_read(&cmd, &m, &odd);
  if (command)
    note_command(pair, &a, &m, &cmd, c->mongo->worker->now);
  else if (r == PT_MONGO_MORE) {
    a.flags |= PT_ASK_UNSEEN;
    if (starts_sasl(p))
      authenticates(pair);
  }
  pair->worked |= a.verb != PT_MVERB_HELLO;
  if (m.h.opcode == PT_OP_MSG && (m.flags & PT_MSG_MORE))
    return 0; /* no reply comes */
  push(pair, a);
  if (c->mongo->worker->access.every && command && !pair->sample) {
    pair->sample = pt_mongo_sample(c, &m, &cmd);
    pair->sample_id = a.id;
  }
  return 0;
}

/* Those that are there are looked into; of larger ones it stays unknown even whether they want a reply. */
static int note_compressed(pt_mongo_client *c, const pt_mongo_header *h, const uint8_t *p, uint32_t have, const char **why) {
  uint32_t plain_len;
  uint8_t how;
  pt_chunk *plain;
  c->pair->sealed = c->pair->worked = true;
  memcpy(&plain_len, p + PT_MONGO_HEADER + 4, sizeof plain_len);
  if (have < h->length || le32toh(plain_len) > 4 * PT_PAIR_PEEK) {
    push(c->pair, (pt_ask){.id = h->request_id, .opcode = PT_OP_MSG, .flags = PT_ASK_SEALED, .stamp = c->mongo->worker->now_us});
    return 0;
  }
  int e = pt_mongo_unpack(p, h->length, 5 * PT_PAIR_PEEK, &c->mongo->worker->pool, &plain, &how, why);
  if (e == -ENOMEM)
    *why = "out of memory";
  if (e)
    return e;
  e = note_plain(c, plain->data, plain->fill, why);
  pt_chunk_unref(plain);
  return e;
}

static int note(pt_mongo_client *c, const pt_mongo_header *h, const uint8_t *p, uint32_t have, const char **why) {
  static __thread char text[64];
  pt_count(&c->mongo->meter.requests);
  c->asked++;
  switch (h->opcode) {
  case PT_OP_MSG:
  case PT_OP_QUERY:
    return note_plain(c, p, have < h->length ? have : h->length, why);
  case PT_OP_COMPRESSED:
    return note_compressed(c, h, p, have, why);
  default:
    snprintf(text, sizeof text, "%s is not supported", pt_mongo_opcode_name(h->opcode));
    *why = text;
    return -EPROTO;
  }
}

int pt_pair_requests(pt_mongo_client *c, const uint8_t *p, uint32_t n, uint32_t *used, const char **why) {
  pt_pair *pair = c->pair;
  uint32_t at = 0;
  pt_mongo_header h;
  for (;;) {
    uint32_t have = n - at, pass = pair->left < have ? pair->left : have;
    at += pass;
    have -= pass;
    pair->left -= pass;
    if (have < PT_MONGO_HEADER || pt_pair_full(pair))
      break;
    int e = pt_mongo_header_read(&h, p + at, PT_MONGO_MAX_MESSAGE, why);
    if (e)
      return e;
    if (have < h.length && have < PT_PAIR_PEEK)
      break;
    if ((e = note(c, &h, p + at, have, why)))
      return e;
    pair->left = h.length;
  }
  *used = at;
  return 0;
}

/* ---- replies ---- */

static void note_cursor(pt_pair *p, const pt_ask *a, const pt_mongo_scan *s, uint64_t now) {
  bool more = a->verb == PT_MVERB_GET_MORE;
  if (s->has_cursor && s->cursor)
    open_touch(&p->cursors, (uint64_t)s->cursor, now);
  else if (more && p->cursors.n) /* its end, or its error */
    open_drop(&p->cursors, (uint64_t)a->cursor);
}

static void measure(pt_mongo_client *c, pt_ask *a) {
  pt_mongo *m = c->mongo;
  pt_node_meter *backend = c->pair->meter;
  pt_mongo_measure(m, a->verb, a->stamp, pt_mongo_command_name(a->known), backend ? backend->name : "");
  if (backend && a->verb != PT_MVERB_HELLO)
    pt_histogram_add(&backend->latency, m->worker->now_us - a->stamp, 1);
  a->stamp = m->worker->now_us; /* a stream goes on */
}

/* The reply that has just passed: to the request it names (0: to the oldest); requests before that one never wanted a reply. Some
 * servers answer what wants no reply, too: such an answer names nobody. */
static void note_reply(pt_mongo_client *c) {
  pt_pair *p = c->pair;
  uint64_t now = c->mongo->worker->now;
  const pt_mongo_scan *s = &p->scan;
  unsigned i = 0;
  while (i < p->n && pt_pair_ask(p, i)->id != s->h.response_to)
    i++;
  if (i == p->n && s->h.response_to == 0)
    i = 0;
  if (i >= p->n)
    return;
  for (; i; i--)
    pt_pair_answered(p);
  pt_ask *a = pt_pair_ask(p, 0);
  measure(c, a);
  bool sealed = s->h.opcode == PT_OP_COMPRESSED;
  if (p->sample && a->id == p->sample_id) {
    pt_mongo_sampled(c->mongo, p->sample, c->backend, s->has_ok && !s->ok ? s->code : 0);
    p->sample = NULL;
  }
  if (sealed)
    p->sealed = true;
  else
    note_cursor(p, a, s, now);
  if (sealed ? a->flags & PT_ASK_EXHAUST : s->h.opcode == PT_OP_MSG && (s->flags & PT_MSG_MORE)) {
    a->id = s->h.request_id;
    a->flags |= PT_ASK_EXHAUST | (sealed ? PT_ASK_SEALED : 0);
  } else {
    pt_pair_answered(p);
  }
}

int pt_pair_replies(pt_mongo_client *c, uint8_t *p, uint32_t n, uint32_t *used) {
  pt_pair *pair = c->pair;
  uint32_t at = 0;
  pt_scan_result r = PT_SCAN_END;
  while (at < n && r != PT_SCAN_MORE) {
    size_t took = 0;
    uint8_t *id;
    r = pt_mongo_scan_feed(&pair->scan, p + at, n - at, PT_MONGO_MAX_MESSAGE, &took, &id);
    if (r == PT_SCAN_BAD)
      return -EPROTO;
    at += (uint32_t)took;
    if (r != PT_SCAN_END)
      continue;
    note_reply(c);
    memset(&pair->scan, 0, sizeof pair->scan);
  }
  *used = at;
  return 0;
}
