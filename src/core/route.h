/* Routing: finds the requests in what a client sent and gives each to what answers it: the batch, the fan, a stream, the local commands, or an
 * error. Worker's thread. */
#ifndef PT_CORE_ROUTE_H
#define PT_CORE_ROUTE_H

#include "core/client.h"

/* Works through n bytes at chunk->data + off; returns how many were used. What is left is an unfinished frame, or everything after a
 * request that has to wait (then PT_CLIENT_BARRIER or PT_CLIENT_FULL is set). *need: bytes the unfinished frame will have at least, 0 unknown. */
uint32_t pt_route_input(pt_client *c, pt_chunk *chunk, uint32_t off, uint32_t n, uint64_t *need);

#endif
