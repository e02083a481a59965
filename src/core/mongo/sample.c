#include "core/mongo/sample.h"

#include <stdio.h>
#include <string.h>

/* The collection, of commands whose first value is one; of others that value may be anything, and is nobody's business. */
static const char *collection(const pt_mongo_message *m, const pt_mongo_command *cmd) {
  bson_t doc;
  bson_iter_t i;
  bool has = cmd->verb == PT_MVERB_FIND || cmd->verb == PT_MVERB_READ || cmd->verb == PT_MVERB_WRITE;
  if (!has || !bson_init_static(&doc, m->body, m->body_len) || !bson_iter_init(&i, &doc) || !bson_iter_next(&i) ||
      !BSON_ITER_HOLDS_UTF8(&i))
    return "";
  return bson_iter_utf8(&i, NULL);
}

pt_access_request *pt_mongo_sample(pt_mongo_client *c, const pt_mongo_message *m, const pt_mongo_command *cmd) {
  unsigned i = 0;
  char where[160];
  if (!pt_access_next(&c->mongo->worker->access, 1, &i))
    return NULL;
  const char *of = collection(m, cmd);
  snprintf(where, sizeof where, "ns=%.70s%s%.70s", cmd->db, *of ? "." : "", of);
  return pt_access_begin(c->mongo->lc, cmd->name, where);
}

void pt_mongo_sampled(pt_mongo *m, pt_access_request *r, uint32_t backend, int32_t code) {
  int i = m->backends ? pt_backends_index(m->backends, backend) : -1;
  pt_access_end(r, i < 0 ? NULL : m->backends->at[i].name, code);
}
