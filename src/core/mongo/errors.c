#include "core/mongo/errors.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char pt_mongo_late[] = "no answer within request_timeout";

static unsigned labels_of(const pt_mongo_command *cmd) {
  if (cmd->verb == PT_MVERB_COMMIT || cmd->verb == PT_MVERB_ABORT)
    return PT_LABEL_RETRYABLE_WRITE;
  if (cmd->in_transaction)
    return PT_LABEL_TRANSIENT;
  return cmd->txn_number >= 0 ? PT_LABEL_RETRYABLE_WRITE : 0;
}

void pt_mongo_error_say(pt_worker *w, pt_error e, bson_t *doc, int code, const char *name, unsigned labels, const char *fmt,
                        ...) {
  char text[400], tag[PT_TOLD_CODE];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  pt_told(w, e, text);
  pt_mongo_error(doc, code, name, labels, "%s%s", text, pt_told_code(e, tag));
}

void pt_mongo_error_lost(pt_worker *w, bson_t *doc, const pt_mongo_command *cmd, const char *backend, const char *why) {
  pt_error e = strcmp(why, pt_mongo_late) ? PT_E_BACKEND_LOST : PT_E_REQUEST_TIMEOUT;
  if (cmd->verb == PT_MVERB_GET_MORE)
    pt_mongo_error_say(w, e, doc, 43, "CursorNotFound", 0, "cursor id %lld not found: its mongos %s is lost (%s)",
                       (long long)cmd->cursor, backend, why);
  else
    pt_mongo_error_say(w, e, doc, 6, "HostUnreachable", labels_of(cmd), "mongos %s is lost: %s", backend, why);
}

void pt_mongo_error_overload(pt_worker *w, pt_error e, bson_t *doc, const pt_mongo_command *cmd, bool backpressure,
                             const char *why) {
  if (backpressure)
    pt_mongo_error_say(w, e, doc, 462, "IngressRequestRateLimitExceeded", PT_LABEL_OVERLOADED, "%s", why);
  else
    pt_mongo_error_say(w, e, doc, 6, "HostUnreachable", labels_of(cmd), "%s", why);
}

void pt_mongo_error_leaving(pt_worker *w, bson_t *doc) {
  pt_mongo_error_say(w, PT_E_ENDS, doc, 91, "ShutdownInProgress", 0, "puerta is shutting down");
}
