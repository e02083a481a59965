/* Who may come in: what is decided about a connection as soon as it is accepted. Control thread, but for the counters, which anybody reads.
 *
 * A Redis client over a limit hears "-ERR max number of clients reached", as Redis says it; a MongoDB client is closed, as mongos does, and so is one
 * that would speak TLS first. Who is denied by address is closed without a word. The last descriptors are no clients': at the limit of open files
 * they are told to go, instead of waiting for what may never come. Each is counted, and one line a second of each kind says which limit it was and
 * how to raise it. */
#ifndef PT_CORE_ADMIT_H
#define PT_CORE_ADMIT_H

#include "base/log.h"
#include "base/sources.h"
#include "core/config.h"
#include "net/address.h"

typedef enum pt_limit {
  PT_LIMIT_NONE, /* it may come in */
  PT_LIMIT_DENIED, /* allow, deny */
  PT_LIMIT_PROCESS, /* max_connections of all */
  PT_LIMIT_LISTENER, /* max_connections of the listener */
  PT_LIMIT_SOURCE, /* max_per_source */
  PT_LIMIT_FILES, /* of open files few are left, for connections to backends and the like */
  PT_LIMIT_MEMORY, /* memory.max is near, or there is none */
  PT_LIMITS
} pt_limit;

/* A word for each, for metrics: "denied", "max_connections", ... */
extern const char *const pt_limit_names[PT_LIMITS];

/* What a listener keeps for it. */
typedef struct pt_admission {
  pt_sources *sources;
  atomic_ullong refused[PT_LIMITS];
  pt_log_rate rates[PT_LIMITS];
} pt_admission;

struct pt_door;

/* A connection from there, accepted as fd. NONE: *source is its use of its source (NULL: it has none), for pt_worker_left when it goes. */
pt_limit pt_admit(struct pt_door *door, int fd, const pt_address *from, pt_source **source);
/* A client of the process before: it is counted, and in whatever the limits are. */
pt_source *pt_admit_arrived(struct pt_door *door, const pt_address *from);
/* Says so, as far as the client is to know, counts, logs and closes fd. */
void pt_admit_refuse(struct pt_door *door, pt_limit limit, int fd, const pt_address *from);
/* Does the listener let this address in? */
bool pt_admit_allows(const pt_listener_config *lc, const uint8_t ip[16]);

#endif
