/* Retry objects: requests that cannot be answered at once because their slot moves, their node is lost, or the cluster says "later".
 *
 * A request that a node has refused or lost is sent again only when it is its connection's oldest unanswered one: that alone keeps the order over
 * any sequence of redirects. A request that is only parked behind such a one (gate.h) goes its normal way as soon as nothing older of its
 * connection stands on its slot. Worker's thread.
 */
#ifndef PT_CORE_RETRY_H
#define PT_CORE_RETRY_H

#include "core/link.h"

/* A new request of c (number seq, answering to who) on a slot that holds it back. Takes its own reference of the bytes. 0 or -ENOMEM. */
int pt_retry_park(pt_client *c, pt_owner who, uint32_t seq, int slot, pt_chunk *chunk, uint32_t off, uint32_t len);

/* An error reply (a line of n bytes) to the oldest request of l, whose bytes are at the front of its log. True: the request lives on as a retry
 * object, or has been answered otherwise; false: the line is the client's. */
bool pt_retry_on_error(pt_link *l, pt_owner who, const uint8_t *line, size_t n);

/* A request of a link that was cut; its bytes are the next who.len of log. written: the kernel took all of them. */
void pt_retry_on_loss(pt_link *l, pt_owner who, const pt_segq *log, bool written, const char *reason);

/* What the front of a log holds, a request of len bytes: its command (NULL: unknown) and slot (-1: none, or only a full look finds it). */
const pt_command *pt_retry_look(const pt_segq *log, uint32_t len, int *slot);

/* Does c have a retry object on the slot? */
bool pt_retry_has(const pt_client *c, int slot);

/* Sends what may go now, gives up what is too old. */
void pt_retry_pump(pt_client *c);
/* Looks at every client with retry objects at the end of this turn. */
void pt_retry_look_again(pt_worker *w);

/* The reply to an object in flight goes to its owner; with its last byte the object ends. */
void pt_retry_reply(pt_worker *w, pt_owner who, pt_chunk *chunk, uint32_t off, uint32_t len, bool last);
/* Replaces *who (PT_KIND_RETRY) by the owner behind it. False: it has gone. */
bool pt_retry_owner(pt_worker *w, pt_owner *who);

/* Its client closes. */
void pt_retry_forget(pt_client *c);
void pt_retry_free_all(pt_worker *w);

#endif
