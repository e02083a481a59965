/* Links: connections of one worker to one node. Requests go into a link's log and its FIFO; at the end of the turn the log is written once;
 * replies go to the oldest waiting request. A link that is closed connects with the first request; requests wait in the log until the node has
 * agreed to the greeting. Worker's thread.
 */
#ifndef PT_CORE_LINK_H
#define PT_CORE_LINK_H

#include "core/worker.h"

void pt_link_init(pt_link *l, pt_upstream *up, unsigned proto);
/* Cuts without telling anybody and frees the FIFO. */
void pt_link_free(pt_link *l);

/* The link of a node for a client's protocol (2 or 3); which of several: by spread, so that one client keeps to one. */
static inline pt_link *pt_link_of(pt_upstream *up, unsigned proto, uint32_t spread) {
  return &up->links[(proto - 2) * up->nlinks + (up->nlinks == 1 ? 0 : spread % up->nlinks)];
}

/* Appends one whole request (len bytes at c->data + off) for who. 0, -ENOMEM, or -ENOBUFS when the link already holds node_backlog bytes.
 * Nothing was queued on an error. replica: a read that a replica of the slot's owner may answer from what it has; else only the owner does. */
int pt_link_push(pt_link *l, pt_owner who, pt_chunk *c, uint32_t off, uint32_t len, bool replica);
/* The same with bytes in a queue; asking: with ASKING right before it. */
int pt_link_push_queue(pt_link *l, pt_owner who, const pt_segq *bytes, bool asking);

/* A stream's request, whose bytes follow in the log as they come: only its place in the FIFO. 0 or -ENOMEM. */
int pt_link_push_part(pt_link *l, pt_owner who);

/* Starts to connect: a new request or a probe wants it. A failure trips the node's circuit. */
void pt_link_open(pt_link *l);
/* Writes what the log holds and the socket takes. Once a turn for each dirty link. */
void pt_link_flush(pt_link *l);
/* Puts it on the worker's list of links to write. 0 or -ENOMEM. */
int pt_link_write_later(pt_link *l);
/* The socket is readable: reads once, passes on every reply in it (link_reply.c). May cut the link. */
void pt_link_read(pt_link *l);

/* Cuts the connection; every waiting request goes to pt_retry_on_loss, oldest first. */
void pt_link_cut(pt_link *l, const char *reason);
/* The request put there last has waited since an earlier moment (us). */
static inline void pt_link_backdate(pt_link *l, uint32_t stamp) { l->stamps[(l->ftail - 1) & l->fmask] = stamp; }
/* Adds those that were answered last to the histograms (link_reply.c). */
void pt_link_end_run(pt_link *l);
/* On a period of request_timeout / PT_LINK_TICKS: cuts a link that is late in connecting, or whose oldest request is. */
void pt_link_tick(pt_link *l);

/* The reason of a link that was cut because its oldest request was not answered within request_timeout. */
extern const char pt_link_late[];

#endif
