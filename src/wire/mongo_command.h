/* What a proxy wants to know of a command document. Pure functions; pointers go into the document. */
#ifndef PT_WIRE_MONGO_COMMAND_H
#define PT_WIRE_MONGO_COMMAND_H

#include "wire/mongo.h"

typedef enum pt_mongo_verb {
  PT_MVERB_OTHER,
  PT_MVERB_HELLO, /* hello, isMaster, ismaster */
  PT_MVERB_PING,
  PT_MVERB_FIND, /* whatever may open a cursor: find, aggregate, listCollections, listIndexes, ... */
  PT_MVERB_READ, /* retryable reads that open none: count, distinct, estimatedDocumentCount's count, listDatabases */
  PT_MVERB_WRITE, /* insert, update, delete, findAndModify, bulkWrite: retryable with a txnNumber */
  PT_MVERB_GET_MORE,
  PT_MVERB_KILL_CURSORS,
  PT_MVERB_END_SESSIONS,
  PT_MVERB_COMMIT,
  PT_MVERB_ABORT,
  PT_MVERB_SASL_START,
  PT_MVERB_SASL_CONTINUE,
  PT_MVERB_AUTHENTICATE, /* MONGODB-X509 */
  PT_MVERB_LOGOUT
} pt_mongo_verb;

typedef struct pt_mongo_command {
  pt_mongo_verb verb;
  uint8_t known; /* pt_mongo_command_name knows its name; 0: it does not */
  const char *name; /* its first key, NUL-terminated */
  const char *db; /* "$db", NUL-terminated; "" when absent */
  const uint8_t *lsid; /* the 16 bytes of lsid.id, NULL: none */
  int64_t txn_number; /* -1: none */
  bool in_transaction; /* autocommit: false */
  bool start_transaction;
  int64_t cursor; /* getMore */
  uint32_t cursor_at; /* where its 8 bytes lie in the body */
  uint32_t cursors_at; /* killCursors: where the array document "cursors" lies in the body, 0: none */
  bool exhaust; /* getMore or hello that asks for a stream; taken from the message's flags by pt_mongo_command_read */
} pt_mongo_command;

/* Reads the top level of m->body. 0, or -EPROTO (*why): no first key, lsid.id is no UUID, a cursor id that is no int64, deep or broken. */
int pt_mongo_command_read(pt_mongo_command *c, const pt_mongo_message *m, const char **why);

/* The name behind known; NULL: 0. */
const char *pt_mongo_command_name(uint8_t known);

/* The i-th id of killCursors' array: its value, and where its 8 bytes lie in the body. 1, 0: no more, -EPROTO. *state starts as 0. */
int pt_mongo_kill_next(const pt_mongo_message *m, const pt_mongo_command *c, uint32_t *state, int64_t *id, uint32_t *at);

#endif
