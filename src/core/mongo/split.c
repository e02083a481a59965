/* killCursors and endSessions: split over the backends concerned, asked one after the other (nearly always there is one), merged into one answer. */
#include <stdlib.h>
#include <string.h>

#include "core/mongo/exchange.h"

typedef enum outcome {
  TO_ASK,
  KILLED,
  NOT_FOUND,
  ALIVE,
  UNKNOWN
} outcome;

/* killCursors: a cursor; endSessions: a session, whose id nobody needs any more. */
typedef struct item {
  int64_t id, value; /* the cursor as the client knows it, and its backend */
  uint32_t backend;
  uint8_t outcome;
} item;

struct pt_split {
  bool kill;
  bson_t doc; /* killCursors without its cursors, or endSessions as it is */
  bson_t error; /* what a backend said instead of doing it; empty: none did */
  unsigned n, cap, found; /* found: where the last id of a reply was */
  item *at;
};

static const struct {
  const char *key;
  outcome what;
} lists[] = {
    {"cursorsKilled", KILLED},
    {"cursorsNotFound", NOT_FOUND},
    {"cursorsAlive", ALIVE},
    {"cursorsUnknown", UNKNOWN},
};
enum {
  LISTS = sizeof lists / sizeof *lists
};

void pt_split_free(pt_split *f) {
  if (!f)
    return;
  bson_destroy(&f->doc);
  bson_destroy(&f->error);
  free(f->at);
  free(f);
}

static bool add(pt_split *f, item it) {
  if (f->n == f->cap) {
    unsigned cap = f->cap ? f->cap * 2 : 4;
    item *more = realloc(f->at, cap * sizeof *more);
    if (!more)
      return false;
    f->at = more;
    f->cap = cap;
  }
  f->at[f->n++] = it;
  return true;
}

/* ---- what is asked ---- */

static bool read_cursors(pt_exchange *x, const pt_mongo_message *msg, const pt_mongo_command *cmd) {
  pt_sessions *t = pt_exchange_mongo(x)->shared->sessions;
  uint32_t state = 0, at;
  int64_t id;
  int r;
  while ((r = pt_mongo_kill_next(msg, cmd, &state, &id, &at)) > 0) {
    pt_session s;
    bool there = pt_sessions_find(t, PT_SESSION_CURSOR, pt_cursor_key(id), pt_exchange_ms(x), &s);
    item it = {.id = id, .outcome = NOT_FOUND};
    if (there)
      it = (item){.id = id, .value = s.value, .backend = s.backend, .outcome = TO_ASK};
    if (!add(x->split, it))
      return false;
  }
  return r == 0;
}

/* The backends that know of a session; each is an item. The table forgets it. */
static bool read_sessions(pt_exchange *x, const pt_mongo_message *msg) {
  pt_mongo *m = pt_exchange_mongo(x);
  bson_iter_t i, list, one;
  bson_t doc;
  if (!bson_init_static(&doc, msg->body, msg->body_len) || !bson_iter_init_find(&i, &doc, "endSessions") ||
      !BSON_ITER_HOLDS_ARRAY(&i) || !bson_iter_recurse(&i, &list))
    return true; /* nothing to end: answered well */
  while (bson_iter_next(&list)) {
    const uint8_t *id;
    uint32_t n = 0;
    bson_subtype_t type;
    pt_session s;
    if (!BSON_ITER_HOLDS_DOCUMENT(&list) || !bson_iter_recurse(&list, &one) || !bson_iter_find(&one, "id") ||
        !BSON_ITER_HOLDS_BINARY(&one))
      continue;
    bson_iter_binary(&one, &type, &n, &id);
    if (n != sizeof x->lsid)
      continue;
    pt_session_key key = pt_place_lsid(m, id);
    if (!pt_sessions_find(m->shared->sessions, PT_SESSION_LSID, key, pt_exchange_ms(x), &s))
      continue;
    pt_sessions_drop(m->shared->sessions, PT_SESSION_LSID, key);
    unsigned k = 0;
    while (k < x->split->n && x->split->at[k].backend != s.backend)
      k++;
    if (k == x->split->n && !add(x->split, (item){.backend = s.backend}))
      return false;
  }
  return true;
}

/* ---- one backend after the other ---- */

static void append_ids(bson_t *doc, const char *key, const pt_split *f, outcome what, uint32_t backend) {
  bson_t list;
  uint32_t n = 0;
  bson_append_array_begin(doc, key, -1, &list);
  for (unsigned i = 0; i < f->n; i++) {
    const item *it = &f->at[i];
    char text[16];
    const char *name;
    if (it->outcome != what || (what == TO_ASK && it->backend != backend))
      continue;
    size_t len = bson_uint32_to_string(n++, &name, text, sizeof text);
    bson_append_int64(&list, name, (int)len, what == TO_ASK ? it->value : it->id);
  }
  bson_append_array_end(doc, &list);
}

static void answer(pt_exchange *x) {
  pt_split *f = x->split;
  pt_mongo *m = pt_exchange_mongo(x);
  bson_t doc = BSON_INITIALIZER;
  for (unsigned i = 0; f->kill && i < f->n; i++)
    if (f->at[i].outcome == KILLED || f->at[i].outcome == NOT_FOUND)
      pt_sessions_cursor_close(m->shared->sessions, f->at[i].id, pt_exchange_ms(x));
  if (f->kill && !bson_empty(&f->error)) {
    bson_concat(&doc, &f->error);
  } else {
    for (unsigned i = 0; f->kill && i < LISTS; i++)
      append_ids(&doc, lists[i].key, f, lists[i].what, 0);
    bson_append_double(&doc, "ok", -1, 1);
  }
  pt_exchange_answer(x, &doc);
  bson_destroy(&doc);
}

static int ask(pt_exchange *x, uint32_t backend) {
  pt_mongo *m = pt_exchange_mongo(x);
  bson_t doc = BSON_INITIALIZER;
  x->kind = PT_X_PART;
  x->backend = backend;
  x->expect = (int32_t)++m->next_id;
  bool built = bson_concat(&doc, &x->split->doc);
  if (x->split->kill)
    append_ids(&doc, "cursors", x->split, TO_ASK, backend);
  int e = built ? pt_mongo_command_write(&x->req, &m->worker->pool, PT_OP_MSG, x->expect, &doc) : -1;
  bson_destroy(&doc);
  return e;
}

static void next(pt_exchange *x) {
  pt_split *f = x->split;
  unsigned i = 0;
  x->state = PT_X_IDLE;
  while (i < f->n && f->at[i].outcome != TO_ASK)
    i++;
  if (i == f->n)
    answer(x);
  else if (ask(x, f->at[i].backend))
    pt_mongo_client_fail(x->client, PT_E_MEMORY, "out of memory");
  else
    pt_exchange_place(x, PT_BACKEND_NONE);
}

void pt_split_begin(pt_exchange *x, const pt_mongo_message *msg, const pt_mongo_command *cmd) {
  bool kill = cmd->verb == PT_MVERB_KILL_CURSORS;
  bson_t body;
  pt_split *f = x->split = calloc(1, sizeof *f);
  if (!f) {
    pt_mongo_client_fail(x->client, PT_E_MEMORY, "out of memory");
    return;
  }
  f->kill = kill;
  bson_init(&f->doc);
  bson_init(&f->error);
  bool good = bson_init_static(&body, msg->body, msg->body_len);
  if (good && kill)
    bson_copy_to_excluding_noinit(&body, &f->doc, "cursors", NULL);
  else if (good)
    good = bson_concat(&f->doc, &body);
  good = good && (kill ? read_cursors(x, msg, cmd) : read_sessions(x, msg));
  if (good)
    next(x);
  else
    pt_mongo_client_fail(x->client, PT_E_ARGUMENTS, kill ? "killCursors with broken ids" : "broken endSessions");
}

/* ---- what is answered ---- */

/* The cursor of a backend's reply; they come in the order in which they were asked for. NULL: nobody asked. */
static item *find(pt_split *f, uint32_t backend, int64_t value) {
  for (unsigned k = 0; k < f->n; k++) {
    unsigned i = (f->found + k) % f->n;
    if (f->at[i].outcome == TO_ASK && f->at[i].backend == backend && f->at[i].value == value) {
      f->found = i + 1;
      return &f->at[i];
    }
  }
  return NULL;
}

static void read_reply(pt_exchange *x, const bson_t *doc) {
  bson_iter_t i, list;
  for (unsigned k = 0; k < LISTS; k++) {
    if (!bson_iter_init_find(&i, doc, lists[k].key) || !BSON_ITER_HOLDS_ARRAY(&i) || !bson_iter_recurse(&i, &list))
      continue;
    while (bson_iter_next(&list)) {
      item *it = BSON_ITER_HOLDS_INT64(&list) ? find(x->split, x->backend, bson_iter_int64(&list)) : NULL;
      if (it)
        it->outcome = (uint8_t)lists[k].what;
    }
  }
}

/* What was asked of that backend and not answered. */
static void settle(pt_exchange *x, outcome what) {
  for (unsigned i = 0; i < x->split->n; i++)
    if (x->split->at[i].outcome == TO_ASK && x->split->at[i].backend == x->backend)
      x->split->at[i].outcome = (uint8_t)what;
}

void pt_split_reply(pt_exchange *x, uint8_t *p, size_t n) {
  pt_mongo_message msg;
  const char *why;
  bson_t doc;
  bson_iter_t i;
  bool there = pt_mongo_parse(&msg, p, n, PT_MONGO_MAX_MESSAGE, &why) == PT_MONGO_OK && msg.body &&
               bson_init_static(&doc, msg.body, msg.body_len);
  bool ok = there && bson_iter_init_find(&i, &doc, "ok") && bson_iter_as_bool(&i);
  if (x->split->kill && ok)
    read_reply(x, &doc);
  else if (x->split->kill && there && bson_empty(&x->split->error))
    bson_concat(&x->split->error, &doc);
  settle(x, there && !ok ? ALIVE : NOT_FOUND);
  next(x);
}

void pt_split_lost(pt_exchange *x) {
  settle(x, NOT_FOUND);
  next(x);
}
