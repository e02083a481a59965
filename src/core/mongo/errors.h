/* What drivers are told so that they retry by themselves and never take puerta for dead. Measured with Node and pymongo; see the table of errors. */
#ifndef PT_CORE_MONGO_ERRORS_H
#define PT_CORE_MONGO_ERRORS_H

#include "wire/mongo_command.h"

/* The backend of a request is lost. Fills doc: getMore and others of a cursor whose owner is gone: 43 CursorNotFound; else 6 HostUnreachable, with
 * TransientTransactionError inside a transaction (not commit or abort), RetryableWriteError on commit, abort and on writes with a txnNumber outside of one. */
void pt_mongo_error_lost(bson_t *doc, const pt_mongo_command *cmd, const char *backend, const char *why);
/* Nothing can take the request now: 462 with SystemOverloadedError and RetryableError for those that know it (backpressure), else 6 as above. */
void pt_mongo_error_overload(bson_t *doc, const pt_mongo_command *cmd, bool backpressure, const char *why);
/* The process is leaving: 91 ShutdownInProgress; for hello alone. */
void pt_mongo_error_leaving(bson_t *doc);

#endif
