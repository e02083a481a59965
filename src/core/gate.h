/* Gates and fences: they keep the order of one connection's requests on a slot while the slot moves. Worker's thread.
 *
 * A gate stands on a slot for every retry object (retry.h) of the slot; a fence while requests of the slot may still be in flight on links of
 * its former owner. The fast path pays one bit test; behind it a request waits (is parked as a retry object) only when its own connection
 * has something older that could be overtaken.
 */
#ifndef PT_CORE_GATE_H
#define PT_CORE_GATE_H

#include "core/worker.h"

static inline bool pt_gate_stands(const pt_service *s, unsigned slot) { return s->gated[slot >> 6] >> (slot & 63) & 1; }

/* A slot that stands behind a gate or fence: must request seq of c wait? */
bool pt_gate_holds(const pt_service *s, const pt_client *c, int slot, uint32_t seq);

/* A retry object of the slot begins and ends; slot < 0: none, no gate. */
void pt_gate_add(pt_service *s, int slot);
void pt_gate_remove(pt_service *s, int slot);

/* n slots move away from up: fences them until what up's links carry now is answered. Without memory the links are cut instead: slower, as safe. */
void pt_fence_add(pt_service *s, pt_upstream *up, const uint16_t *slots, unsigned n);
/* Takes down the fences that have been passed. Once a turn while there are any. */
void pt_fence_check(pt_service *s);
void pt_fence_free(pt_service *s);

#endif
