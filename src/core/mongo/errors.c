#include "core/mongo/errors.h"

static unsigned labels_of(const pt_mongo_command *cmd) {
  if (cmd->verb == PT_MVERB_COMMIT || cmd->verb == PT_MVERB_ABORT)
    return PT_LABEL_RETRYABLE_WRITE;
  if (cmd->in_transaction)
    return PT_LABEL_TRANSIENT;
  return cmd->txn_number >= 0 ? PT_LABEL_RETRYABLE_WRITE : 0;
}

void pt_mongo_error_lost(bson_t *doc, const pt_mongo_command *cmd, const char *backend, const char *why) {
  if (cmd->verb == PT_MVERB_GET_MORE)
    pt_mongo_error(doc, 43, "CursorNotFound", 0, "cursor id %lld not found: its mongos %s is lost (%s)", (long long)cmd->cursor,
                   backend, why);
  else
    pt_mongo_error(doc, 6, "HostUnreachable", labels_of(cmd), "mongos %s is lost: %s", backend, why);
}

void pt_mongo_error_overload(bson_t *doc, const pt_mongo_command *cmd, bool backpressure, const char *why) {
  if (backpressure)
    pt_mongo_error(doc, 462, "IngressRequestRateLimitExceeded", PT_LABEL_OVERLOADED, "%s", why);
  else
    pt_mongo_error(doc, 6, "HostUnreachable", labels_of(cmd), "%s", why);
}

void pt_mongo_error_leaving(bson_t *doc) { pt_mongo_error(doc, 91, "ShutdownInProgress", 0, "puerta is shutting down"); }
