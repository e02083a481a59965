/* What stands behind each listener, as the control thread sees it: the topology of a Redis Cluster, or the health of MongoDB backends and what the
 * workers share about them. News go to every worker. Control thread.
 */
#ifndef PT_CORE_SUBJECT_H
#define PT_CORE_SUBJECT_H

#include "core/heritage.h"
#include "core/worker.h"

struct pt_subject {
  struct pt_subjects *all;
  unsigned listener;
  struct pt_topology *topology; /* REDIS */
  struct pt_health *health; /* MONGODB */
  struct pt_mongo_shared *mongo; /* MONGODB */
};

typedef struct pt_subjects {
  struct ev_loop *loop;
  pt_subject *at; /* one a listener */
  unsigned n;
  pt_worker **workers; /* set before the loop runs */
  unsigned nworkers;
  void (*news)(void *arg, unsigned listener); /* something has been published */
  void *arg;
  ev_timer sweep; /* forgets sessions that have timed out */
} pt_subjects;

/* Starts asking about every listener, from where the process before left off (from: NULL, none); s has loop, news and arg, the rest zero. 0 or -ENOMEM. */
int pt_subjects_start(pt_subjects *s, pt_config *cfg, pt_heritage *from);
/* The process that shared the session tables has ended. */
void pt_subjects_abandon(pt_subjects *s);
void pt_subjects_reconfigure(pt_subjects *s, pt_config *cfg);
/* Something has been published about a listener. */
bool pt_subject_known(const pt_subject *s);
/* One line a MongoDB listener: what it has done. The workers are still there. */
void pt_subjects_sum_up(const pt_subjects *s);
/* After the workers have ended. */
void pt_subjects_free(pt_subjects *s);

#endif
