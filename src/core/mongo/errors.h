/* What drivers are told so that they retry by themselves and never take puerta for dead. Measured with Node and pymongo; see the table of errors. Each is
 * counted and logged under its code (core/told.h), which errmsg ends in. Worker's thread. */
#ifndef PT_CORE_MONGO_ERRORS_H
#define PT_CORE_MONGO_ERRORS_H

#include "core/told.h"
#include "wire/mongo_command.h"

/* Why a backend is lost that has not answered within request_timeout. */
extern const char pt_mongo_late[];

/* Fills doc with an error; code, name and labels as in pt_mongo_error. */
void pt_mongo_error_say(pt_worker *w, pt_error e, bson_t *doc, int code, const char *name, unsigned labels, const char *fmt, ...)
    __attribute__((format(printf, 7, 8)));
/* The backend of a request is lost. Fills doc: getMore and others of a cursor whose owner is gone: 43 CursorNotFound; else 6 HostUnreachable, with
 * TransientTransactionError inside a transaction (not commit or abort), RetryableWriteError on commit, abort and on writes with a txnNumber outside of one. */
void pt_mongo_error_lost(pt_worker *w, bson_t *doc, const pt_mongo_command *cmd, const char *backend, const char *why);
/* Nothing can take the request now: 462 with SystemOverloadedError and RetryableError for those that know it (backpressure), else 6 as above. */
void pt_mongo_error_overload(pt_worker *w, pt_error e, bson_t *doc, const pt_mongo_command *cmd, bool backpressure,
                             const char *why);
/* The process is leaving: 91 ShutdownInProgress; for hello alone. */
void pt_mongo_error_leaving(pt_worker *w, bson_t *doc);

#endif
