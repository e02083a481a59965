/* Messages of a client of request.c: what each is, and who serves it. Parsed where they lie; one whose body is there goes on before its end has come.
 * Worker's thread. All may close the client. */
#ifndef PT_CORE_MONGO_INTAKE_H
#define PT_CORE_MONGO_INTAKE_H

#include "core/mongo/exchange.h"

/* The message at off, of which have bytes are there; the exchange is idle or gathers. Bytes taken; 0: more are needed (c->need), or it has to wait for what
 * is gathered; -1: the client is closed. Those of its bytes that are not taken are the exchange's rest. */
long pt_intake_message(pt_mongo_client *c, pt_chunk *chunk, uint32_t off, uint32_t have);
/* n bytes after a message of which a rest was missing; they are dropped when it has been answered with an error. Bytes taken; -1: the client is closed. */
long pt_intake_more(pt_mongo_client *c, pt_chunk *chunk, uint32_t off, uint32_t n);
/* The exchange gathers, and nothing more joins: sends it. */
void pt_intake_send(pt_exchange *x);

#endif
