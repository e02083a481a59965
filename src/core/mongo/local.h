/* What puerta answers by itself in forward = "request": hello (also awaited, also as a stream) from what the backends say, and authentication against the
 * users of the configuration. Worker's thread; the builders are pure. */
#ifndef PT_CORE_MONGO_LOCAL_H
#define PT_CORE_MONGO_LOCAL_H

#include "core/mongo/exchange.h"

/* Answers a request, or lets it wait. false: it is not for puerta to answer. */
bool pt_local_serve(pt_exchange *x, const pt_mongo_message *msg, const pt_mongo_command *cmd);
/* x->wait is there: is it time to answer? */
void pt_local_look(pt_exchange *x);
/* x->wait is there: answers it now, and ends its stream, since the client leaves this process. Not one that still knows of no backend. */
void pt_local_finish(pt_exchange *x);
void pt_local_free(pt_exchange *x);

/* What a hello is answered from. */
typedef struct pt_local_facts {
  const pt_server_hello *hello; /* the least that all backends can do */
  const uint8_t *process_id; /* 12 bytes; with counter: topologyVersion */
  int64_t counter;
  int32_t connection;
  int64_t now; /* ms since 1970 */
  uint8_t compressors; /* bits of those configured */
  const uint8_t *service_id; /* 12 bytes for load balanced clients, NULL */
  const pt_mongo_user *users;
  unsigned nusers;
} pt_local_facts;

void pt_local_hello(bson_t *doc, const pt_local_facts *f, const pt_client_hello *h);

#endif
