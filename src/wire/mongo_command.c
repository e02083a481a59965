#include "wire/mongo_command.h"

#include "wire/bson_hop.h"

/* The frequent ones first. Names are case sensitive, as they are in MongoDB. */
static const struct {
  uint8_t len;
  uint8_t verb;
  const char *name;
} verbs[] = {
#define VERB(name, verb)                                                                                                         \
  { sizeof(name) - 1, verb, name }
    VERB("find", PT_MVERB_FIND),
    VERB("insert", PT_MVERB_WRITE),
    VERB("update", PT_MVERB_WRITE),
    VERB("getMore", PT_MVERB_GET_MORE),
    VERB("aggregate", PT_MVERB_FIND),
    VERB("delete", PT_MVERB_WRITE),
    VERB("findAndModify", PT_MVERB_WRITE),
    VERB("hello", PT_MVERB_HELLO),
    VERB("count", PT_MVERB_READ),
    VERB("commitTransaction", PT_MVERB_COMMIT),
    VERB("abortTransaction", PT_MVERB_ABORT),
    VERB("bulkWrite", PT_MVERB_WRITE),
    VERB("killCursors", PT_MVERB_KILL_CURSORS),
    VERB("endSessions", PT_MVERB_END_SESSIONS),
    VERB("ping", PT_MVERB_PING),
    VERB("distinct", PT_MVERB_READ),
    VERB("isMaster", PT_MVERB_HELLO),
    VERB("ismaster", PT_MVERB_HELLO),
    VERB("saslStart", PT_MVERB_SASL_START),
    VERB("saslContinue", PT_MVERB_SASL_CONTINUE),
    VERB("authenticate", PT_MVERB_AUTHENTICATE),
    VERB("logout", PT_MVERB_LOGOUT),
    VERB("listCollections", PT_MVERB_FIND),
    VERB("listIndexes", PT_MVERB_FIND),
    VERB("listDatabases", PT_MVERB_READ),
    VERB("findandmodify", PT_MVERB_WRITE),
    VERB("createIndexes", PT_MVERB_OTHER),
    VERB("create", PT_MVERB_OTHER),
    VERB("drop", PT_MVERB_OTHER),
    VERB("dropDatabase", PT_MVERB_OTHER),
    VERB("explain", PT_MVERB_OTHER),
    VERB("mapReduce", PT_MVERB_OTHER),
    VERB("collStats", PT_MVERB_OTHER),
    VERB("dbStats", PT_MVERB_OTHER),
    VERB("serverStatus", PT_MVERB_OTHER),
#undef VERB
};

static uint8_t find(const char *name, uint32_t len) {
  for (unsigned i = 0; i < sizeof verbs / sizeof *verbs; i++)
    if (verbs[i].len == len && !memcmp(verbs[i].name, name, len))
      return (uint8_t)(i + 1);
  return 0;
}

const char *pt_mongo_command_name(uint8_t known) { return known ? verbs[known - 1].name : NULL; }

static int read_first(pt_mongo_command *c, const pt_hop *h, const char **why) {
  c->name = h->key;
  c->known = find(h->key, h->key_len);
  c->verb = c->known ? verbs[c->known - 1].verb : PT_MVERB_OTHER;
  if (c->verb != PT_MVERB_GET_MORE)
    return 0;
  if (h->type != PT_BSON_INT64)
    return pt_refuse(why, "getMore: the cursor id is no int64");
  c->cursor = (int64_t)pt_le64(h->value);
  c->cursor_at = (uint32_t)(h->value - h->p);
  return 0;
}

static int read_lsid(pt_mongo_command *c, const pt_hop *h, const char **why) {
  int e = 0;
  pt_hop in = pt_hop_over(h->value, 0, h->value_len);
  while (h->type == PT_BSON_DOCUMENT && (e = pt_hop_next(&in)) > 0)
    if (PT_HOP_IS(&in, "id") && in.type == PT_BSON_BINARY && in.value_len == 5 + 16 && in.value[4] == BSON_SUBTYPE_UUID) {
      c->lsid = in.value + 5;
      return 0;
    }
  return pt_refuse(why, "lsid.id is no UUID");
}

static int read_bool(bool *v, const pt_hop *h, const char **why) {
  if (h->type != PT_BSON_BOOL)
    return pt_refuse(why, "autocommit and startTransaction are booleans");
  *v = *h->value;
  return 0;
}

static int read_txn_number(pt_mongo_command *c, const pt_hop *h, const char **why) {
  if (h->type != PT_BSON_INT64 || (c->txn_number = (int64_t)pt_le64(h->value)) < 0)
    return pt_refuse(why, "txnNumber is no int64 from 0");
  return 0;
}

static int read_db(pt_mongo_command *c, const pt_hop *h, const char **why) {
  if (h->type != PT_BSON_STRING)
    return pt_refuse(why, "$db is no string");
  c->db = (const char *)h->value + 4;
  return 0;
}

static int read_cursors(pt_mongo_command *c, const pt_hop *h, const char **why) {
  if (h->type != PT_BSON_ARRAY)
    return pt_refuse(why, "killCursors: cursors is no array");
  c->cursors_at = (uint32_t)(h->value - h->p);
  return 0;
}

/* An element after the first. */
static int read_element(pt_mongo_command *c, const pt_hop *h, const char **why) {
  bool autocommit;
  switch (h->key_len) {
  case 3:
    return PT_HOP_IS(h, "$db") ? read_db(c, h, why) : 0;
  case 4:
    return PT_HOP_IS(h, "lsid") ? read_lsid(c, h, why) : 0;
  case 7:
    return c->verb == PT_MVERB_KILL_CURSORS && PT_HOP_IS(h, "cursors") ? read_cursors(c, h, why) : 0;
  case 9:
    return PT_HOP_IS(h, "txnNumber") ? read_txn_number(c, h, why) : 0;
  case 10:
    if (!PT_HOP_IS(h, "autocommit"))
      return 0;
    if (read_bool(&autocommit, h, why))
      return -EPROTO;
    c->in_transaction = !autocommit;
    return 0;
  case 16:
    return PT_HOP_IS(h, "startTransaction") ? read_bool(&c->start_transaction, h, why) : 0;
  default:
    return 0;
  }
}

int pt_mongo_command_read(pt_mongo_command *c, const pt_mongo_message *m, const char **why) {
  *c = (pt_mongo_command){.db = "", .txn_number = -1};
  *why = "a broken command document";
  if (!m->body)
    return pt_refuse(why, "no command document");
  pt_hop h = pt_hop_over(m->body, 0, m->body_len);
  int e = pt_hop_next(&h);
  if (e <= 0)
    return e ? e : pt_refuse(why, "an empty command document");
  e = read_first(c, &h, why);
  while (!e && (e = pt_hop_next(&h)) > 0)
    e = read_element(c, &h, why);
  if (e)
    return e;
  c->exhaust =
      (m->flags & PT_MSG_EXHAUST) && m->h.opcode == PT_OP_MSG && (c->verb == PT_MVERB_GET_MORE || c->verb == PT_MVERB_HELLO);
  return 0;
}

int pt_mongo_kill_next(const pt_mongo_message *m, const pt_mongo_command *c, uint32_t *state, int64_t *id, uint32_t *at) {
  if (!c->cursors_at)
    return 0;
  pt_hop h = pt_hop_over(m->body, c->cursors_at, pt_le32(m->body + c->cursors_at));
  if (*state)
    h.at = *state;
  int e = pt_hop_next(&h);
  if (e <= 0)
    return e;
  if (h.type != PT_BSON_INT64)
    return -EPROTO;
  *id = (int64_t)pt_le64(h.value);
  *at = (uint32_t)(h.value - m->body);
  *state = (uint32_t)h.at;
  return 1;
}
