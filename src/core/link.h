/* Links: connections of one worker to one node. Requests go into a link's log and its FIFO; at the end of the turn the log is written once.
 * Worker's thread. */
#ifndef PT_CORE_LINK_H
#define PT_CORE_LINK_H

#include "core/worker.h"

/* The link of a node for a client's protocol (2 or 3); which of several: by spread, so that one client keeps to one. */
static inline pt_link *pt_link_of(pt_upstream *up, unsigned proto, uint32_t spread) {
  return &up->links[proto - 2][up->nlinks == 1 ? 0 : spread % up->nlinks];
}

/* Appends one whole request (len bytes at c->data + off) for who; connects when the link is closed. 0, -ENOMEM, or -ENOBUFS when the link already holds
 * node_backlog bytes. Nothing was queued on an error. */
int pt_link_push(pt_link *l, pt_owner who, pt_chunk *c, uint32_t off, uint32_t len);

/* Appends an internal command, whose reply is swallowed (READONLY, ASKING). 0 or -ENOMEM. */
int pt_link_push_internal(pt_link *l, const char *resp, size_t len);

/* Writes what the log holds and the socket takes. Called once a turn for each dirty link. */
void pt_link_flush(pt_link *l);

/* Cuts the connection: every waiting request goes to pt_link_lost (retry.h), oldest first, with written = handed to the kernel whole. */
void pt_link_cut(pt_link *l, const char *reason);

/* Called on a period of request_timeout / PT_LINK_TICKS: cuts a link whose oldest request is too old. */
void pt_link_tick(pt_link *l);

#endif
