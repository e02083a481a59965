/* One conversation with one node: resolve, connect, AUTH, CLUSTER SHARDS (CLUSTER SLOTS where that is unknown). Blocks, within a time limit: for
 * threads that may wait. No state, any thread. */
#ifndef PT_CORE_ASK_H
#define PT_CORE_ASK_H

#include "core/cluster.h"
#include "core/config.h"
#include "net/address.h"

enum {
  PT_ASK_MAX_REPLY = 16 * 1024 * 1024
};

/* Addresses of a host, numeric or a name: fills out[0..max), returns how many, 0 with a reason in err. Has no time limit: the name service's own. */
unsigned pt_ask_resolve(const char *host, uint16_t port, pt_address *out, unsigned max, char *err, size_t errsize);

/* Asks host:port for its view; name: the one its certificate has to bear. All within lc->connect_timeout but the name service. *out: a snapshot, names not resolved, the caller's; *from: the
 * address that answered. 0; -ECANCELED as soon as the descriptor cancel is readable; else another -errno with a reason in err (no secrets). */
int pt_ask_cluster(const pt_listener_config *lc, const char *host, uint16_t port, const char *name, int cancel, pt_cluster **out,
                   pt_address *from, char *err, size_t errsize);

#endif
