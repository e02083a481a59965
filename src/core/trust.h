/* Whether a policy is asked: one that fails in more than 10 % of its calls within a second is suspended for 10 s. Worker's thread. */
#ifndef PT_CORE_TRUST_H
#define PT_CORE_TRUST_H

#include "core/worker.h"

/* Zeroed: trusted. */
static inline bool pt_trust_asks(const pt_trust *t, const pt_worker *w) { return w->now >= t->suspended_until; }

/* Before and after a call into the policy: the watchdog looks. now: ns; a hot call may take the turn's. */
static inline void pt_trust_enter(pt_worker *w, const char *name, uint64_t now) {
  atomic_store_explicit(&w->lua_name, name, memory_order_relaxed);
  atomic_store_explicit(&w->in_lua, now, memory_order_release);
}
static inline void pt_trust_leave(pt_worker *w) { atomic_store_explicit(&w->in_lua, 0, memory_order_release); }

/* A call has failed: counted, logged, and perhaps the policy is suspended. calls, failures: of the policy so far; error: what went wrong. */
void pt_trust_failed(pt_trust *t, pt_worker *w, const char *name, const char *error, uint64_t calls, uint64_t failures);

#endif
