/* What is to be told about the process: what metrics, status and the admin server look at. Filled by the control thread, which alone uses it; borrowed. */
#ifndef PT_CORE_SURVEY_H
#define PT_CORE_SURVEY_H

#include <stdbool.h>

#include "core/door.h"
#include "core/subject.h"
#include "core/worker.h"

/* What the control thread counts. */
typedef struct pt_tally {
  uint64_t reloads, reloads_failed;
  uint64_t upgrades, upgrades_failed;
} pt_tally;

typedef struct pt_survey {
  const pt_config *cfg;
  pt_worker *const *workers;
  unsigned nworkers;
  const pt_subjects *subjects;
  const pt_doors *doors;
  pt_tally tally;
  uint64_t started; /* ns */
  bool ready, draining;
} pt_survey;

/* What a listener has done, in all workers. */
typedef struct pt_meter_sum {
  uint64_t requests, accepted, closed;
  uint64_t policy_calls, policy_failures, policy_ns, suspensions, aborts;
  bool suspended; /* in some worker */
} pt_meter_sum;

/* A histogram in all workers. */
typedef struct pt_histogram_sum {
  uint64_t counts[PT_BUCKETS], sum_us, total;
} pt_histogram_sum;

/* A node or backend in all workers. */
typedef struct pt_node_sum {
  pt_histogram_sum latency;
  uint64_t lost, backlog;
  unsigned inflight, latency_us, links, waiting;
  bool open; /* fails fast in some worker */
} pt_node_sum;

pt_meter *pt_survey_meter(const pt_survey *p, unsigned worker, unsigned listener);
void pt_survey_sum(const pt_survey *p, unsigned listener, pt_meter_sum *sum);
/* Of one class of requests. */
void pt_survey_latency(const pt_survey *p, unsigned listener, pt_work c, pt_histogram_sum *sum);
void pt_survey_node(const pt_survey *p, unsigned listener, const char *name, pt_node_sum *sum);
void pt_histogram_gather(pt_histogram_sum *sum, const pt_histogram *h);

/* The cluster or the backends behind a listener; NULL: not known yet, or it is of the other kind. */
const pt_cluster *pt_survey_cluster(const pt_survey *p, unsigned listener);
const pt_backends *pt_survey_backends(const pt_survey *p, unsigned listener);
/* "host:port" or "[v6]:port" of a cluster's node, as its meter is called. out: 272 bytes. */
const char *pt_survey_node_name(const pt_cluster_node *n, char *out);

/* The cells of pt_counters and pt_mongo_counters that are exported: one line each, here. */
typedef struct pt_exported {
  const char *name, *help;
  size_t at;
} pt_exported;
extern const pt_exported pt_exported_counters[], pt_exported_mongo[]; /* end with name == NULL */
uint64_t pt_survey_counter(const pt_survey *p, size_t at);
uint64_t pt_survey_mongo_counter(const pt_survey *p, unsigned listener, size_t at);

/* NULL, or why the process is not ready for clients. */
const char *pt_survey_unready(const pt_survey *p, char *out, size_t cap);

#endif
