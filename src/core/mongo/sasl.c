#include "core/mongo/sasl.h"

#include <stdlib.h>
#include <string.h>

enum {
  CONVERSATION = 1,
  AUTHENTICATION_FAILED = 18,
  MECHANISM_UNAVAILABLE = 334
};

struct pt_sasl {
  pt_scram_server scram;
  bool skip_empty; /* the client does without the last, empty exchange */
  bool proven; /* only that is left */
};

/* What a client says. */
typedef struct words {
  const char *mechanism, *payload;
  uint32_t n;
  int64_t conversation;
  bool skip_empty;
} words;

static bool read_words(words *w, const pt_mongo_message *msg) {
  bson_t doc;
  bson_iter_t i, in;
  *w = (words){.mechanism = ""};
  if (!bson_init_static(&doc, msg->body, msg->body_len) || !bson_iter_init(&i, &doc))
    return false;
  while (bson_iter_next(&i)) {
    const char *key = bson_iter_key(&i);
    if (!strcmp(key, "payload") && BSON_ITER_HOLDS_BINARY(&i))
      bson_iter_binary(&i, NULL, &w->n, (const uint8_t **)&w->payload);
    else if (!strcmp(key, "mechanism") && BSON_ITER_HOLDS_UTF8(&i))
      w->mechanism = bson_iter_utf8(&i, NULL);
    else if (!strcmp(key, "conversationId") && BSON_ITER_HOLDS_NUMBER(&i))
      w->conversation = bson_iter_as_int64(&i);
    else if (!strcmp(key, "options") && BSON_ITER_HOLDS_DOCUMENT(&i) && bson_iter_recurse(&i, &in) &&
             bson_iter_find(&in, "skipEmptyExchange"))
      w->skip_empty = bson_iter_as_bool(&in);
  }
  return w->payload != NULL;
}

void pt_sasl_free(pt_sasl *s) {
  if (s)
    explicit_bzero(s, sizeof *s);
  free(s);
}

static pt_sasl_result refuse(pt_sasl **s, bson_t *doc) {
  pt_sasl_free(*s);
  *s = NULL;
  pt_mongo_error(doc, AUTHENTICATION_FAILED, "AuthenticationFailed", 0, "Authentication failed. (%s)",
                 pt_errors[PT_E_AUTHENTICATION].code);
  return PT_SASL_REFUSED;
}

static void say(bson_t *doc, const char *payload, bool done) {
  bson_append_int32(doc, "conversationId", -1, CONVERSATION);
  bson_append_bool(doc, "done", -1, done);
  bson_append_binary(doc, "payload", -1, BSON_SUBTYPE_BINARY, (const uint8_t *)payload, (uint32_t)strlen(payload));
  bson_append_double(doc, "ok", -1, 1);
}

/* The verifier of a user, and one of the same kind to imitate for those who do not exist. */
static void find(const pt_mongo_user *users, unsigned nusers, int algorithm, const char *name, pt_scram_verifier *v, bool *there,
                 pt_scram_verifier *like, bool *any) {
  for (unsigned i = 0; i < nusers; i++) {
    pt_scram_verifier one;
    if (pt_scram_verifier_parse(&one, users[i].verifier) || one.algorithm != algorithm)
      continue;
    if (!strcmp(users[i].name, name)) {
      *v = one;
      *there = true;
    }
    *like = one;
    *any = true;
  }
}

static pt_sasl_result start(pt_sasl **s, const pt_mongo_user *users, unsigned nusers, const words *w, bson_t *doc,
                            const char **user) {
  int algorithm = !strcmp(w->mechanism, "SCRAM-SHA-256") ? PT_SHA256 : !strcmp(w->mechanism, "SCRAM-SHA-1") ? PT_SHA1 : 0;
  pt_sasl_free(*s);
  *s = NULL;
  if (!algorithm) {
    pt_mongo_error(doc, MECHANISM_UNAVAILABLE, "MechanismUnavailable", 0,
                   "authentication mechanism '%.40s' is not supported (%s)", w->mechanism, pt_errors[PT_E_AUTHENTICATION].code);
    return PT_SASL_REFUSED;
  }
  pt_scram_verifier v, like;
  bool there = false, any = false;
  char out[PT_SCRAM_TEXT];
  if (!(*s = calloc(1, sizeof **s)) || pt_scram_server_user(w->payload, w->n, (*s)->scram.user, sizeof(*s)->scram.user))
    return refuse(s, doc);
  find(users, nusers, algorithm, (*s)->scram.user, &v, &there, &like, &any);
  if (pt_scram_server_first(&(*s)->scram, algorithm, there ? &v : NULL, any ? &like : NULL, w->payload, w->n, out, sizeof out))
    return refuse(s, doc);
  *user = (*s)->scram.user;
  (*s)->skip_empty = w->skip_empty;
  say(doc, out, false);
  return PT_SASL_MORE;
}

static pt_sasl_result go_on(pt_sasl **s, const words *w, bson_t *doc, const char **user) {
  char out[PT_SCRAM_TEXT];
  if (!*s || w->conversation != CONVERSATION)
    return refuse(s, doc);
  if ((*s)->proven) {
    pt_sasl_free(*s);
    *s = NULL;
    say(doc, "", true);
    return PT_SASL_IN;
  }
  static __thread char name[sizeof(*s)->scram.user];
  memcpy(name, (*s)->scram.user, sizeof name);
  *user = name;
  if (pt_scram_server_final(&(*s)->scram, w->payload, w->n, out, sizeof out))
    return refuse(s, doc);
  bool done = (*s)->skip_empty;
  say(doc, out, done);
  if (done) {
    pt_sasl_free(*s);
    *s = NULL;
    return PT_SASL_IN;
  }
  (*s)->proven = true;
  return PT_SASL_MORE;
}

pt_sasl_result pt_sasl_step(pt_sasl **s, const pt_mongo_user *users, unsigned nusers, const pt_mongo_message *msg,
                            const pt_mongo_command *cmd, bson_t *doc, const char **user) {
  words w;
  *user = "";
  if (!read_words(&w, msg))
    return refuse(s, doc);
  return cmd->verb == PT_MVERB_SASL_START ? start(s, users, nusers, &w, doc, user) : go_on(s, &w, doc, user);
}
