/* Retry objects: requests that cannot be answered at once because their slot moves, their node is lost, or the cluster says "later".
 * A retry object is sent only when it is its connection's oldest unanswered request: that alone keeps the order across redirects.
 * Worker's thread. */
#ifndef PT_CORE_RETRY_H
#define PT_CORE_RETRY_H

#include "core/link.h"

/* An error reply (a line of n bytes) to the oldest request of l, whose bytes are still at the front of its log. Returns true when it was a
 * redirect or a "later" and the request lives on as a retry object; false: the line is the client's. */
bool pt_retry_on_error(pt_link *l, pt_owner who, const uint8_t *line, size_t n);

/* A request of a cut link: its bytes are bytes[0..len) of the log at offset off. written: the kernel took all of it. */
void pt_retry_on_loss(pt_link *l, pt_owner who, uint64_t off, bool written, const char *reason);

/* A new request on a gated slot. Takes its own reference. 0 or -ENOMEM. */
int pt_retry_park(pt_service *s, pt_owner who, pt_chunk *c, uint32_t off, uint32_t len, uint16_t slot);

/* Sends what is due and at its connection's head. Called once a turn while objects wait. */
void pt_retry_run(pt_worker *w);

/* The object's final reply has been passed on: frees it and its gate. */
void pt_retry_done(pt_worker *w, uint32_t index, uint32_t gen);

#endif
