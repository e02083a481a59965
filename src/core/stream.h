/* Streams: a request above stream_above is not kept, it passes through on a connection of its own, which no other request shares. It begins when
 * nothing of its client is in flight and its client's next request waits for its reply, so order holds; it cannot be sent again, so a
 * redirect or a lost node becomes an error that says so. Worker's thread.
 */
#ifndef PT_CORE_STREAM_H
#define PT_CORE_STREAM_H

#include "core/client.h"

/* The unfinished frame f of c, so far n bytes at chunk->data + off, is large. True: the stream has taken the n bytes. False: they stay where they are:
 * it waits for the client's other requests (PT_CLIENT_BARRIER is set), or only a whole request can be routed. */
bool pt_stream_start(pt_client *c, const pt_frame *f, pt_chunk *chunk, uint32_t off, uint32_t n);

/* The next bytes that the client sent. */
void pt_stream_input(pt_client *c, pt_chunk *chunk, uint32_t off, uint32_t n);
/* May the client be read? */
bool pt_stream_wants(const pt_client *c);
/* Bytes it holds; 0 without a stream. */
uint64_t pt_stream_held(const pt_client *c);
/* The link has written something. */
void pt_stream_drained(pt_link *l);

/* On the service's tick: a node that makes no progress for request_timeout is given up. */
void pt_stream_tick(pt_service *s);
/* Has the whole request come? Has it been answered too? */
bool pt_stream_ended(const pt_client *c);
bool pt_stream_done(const pt_client *c);
/* The reply has been passed on, or the client closes; harmless without a stream. The memory stays until the end of the turn. */
void pt_stream_forget(pt_client *c);
void pt_stream_bury(pt_worker *w);

#endif
