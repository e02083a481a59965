/* The rounds of an asker thread: whom to ask about the cluster, in which order, and what counts as the answer. Blocks; asker's thread only. */
#ifndef PT_CORE_ASKER_H
#define PT_CORE_ASKER_H

#include "base/log.h"
#include "core/cluster.h"
#include "core/config.h"

/* A node by its address; port 0: none. */
typedef struct pt_asker_node {
  char host[256];
  uint16_t port;
} pt_asker_node;

typedef struct pt_asker_seed pt_asker_seed;

/* Zeroed memory with stop and rng set is ready for pt_asker_configure. */
typedef struct pt_asker {
  int stop; /* a descriptor: readable when everything has to end */
  unsigned rng;
  pt_config *cfg;
  const pt_listener_config *lc;
  pt_asker_seed *seeds; /* lc->nnodes */
  pt_cluster *last; /* the snapshot found last; NULL: none */
  pt_asker_node answered; /* who answered last */
  bool silent; /* nobody answered in the last round */
  bool told_silent; /* as the log has it */
  bool stopped;
  pt_log_rate told; /* a cluster that is being resharded changes ten times a second */
  pt_log_rate told_node, told_answer[2]; /* somebody, nobody */
} pt_asker;

/* Uses a configuration, takes its reference over. Seeds are judged afresh. false: no memory, nothing has changed. */
bool pt_asker_configure(pt_asker *a, pt_config *cfg, unsigned listener);
/* One round: the first complete view, else the best. hint: asked first, as announced (remap applies). seeds_first: no earlier knowledge counts.
 * Logs what is new. Returns true when a->last is another snapshot than before. */
bool pt_asker_round(pt_asker *a, const pt_asker_node *hint, bool seeds_first);
/* Asks one seed that was not asked in this round, only to report it. false: none is left. */
bool pt_asker_check_seed(pt_asker *a);
void pt_asker_free(pt_asker *a);

#endif
