/* A target with a thread of its own, and a bounded queue without locks before it: whoever logs never waits for a disk, a pipe whose reader stalls or a
 * syslog that is slow. A line that finds the queue full is lost, and counted; the next one written is preceded by how many. (Writing without
 * blocking would not do: O_NONBLOCK on standard error is shared with whoever else has it, and means nothing to a file.)
 *
 * Before pt_log_sink_start, and after pt_log_sink_stop, lines are written at once by who logs them, who then waits for a reader at most a second.
 * The last PT_LOG_TAIL lines are kept. Put, tail, lost, flush: any thread. The rest: one thread, the control thread. A child after fork(2) has no such
 * thread: it must not log before exec. */
#ifndef PT_BASE_LOG_SINK_H
#define PT_BASE_LOG_SINK_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/log_target.h"

enum {
  PT_LOG_QUEUE = 1024, /* lines that may wait; a power of two */
  PT_LOG_TAIL = 200
};

typedef struct pt_log_cell {
  atomic_size_t turn; /* position: free for it; position + 1: its line is here */
  pt_log_line *line;
} pt_log_cell;

/* Zeroed memory, with the mutex initialised, is ready: it writes to standard error. */
typedef struct pt_log_sink {
  pt_log_cell cells[PT_LOG_QUEUE];
  atomic_size_t tail; /* next position to write */
  atomic_size_t head; /* next position to read; the thread's */
  atomic_ullong lost;
  unsigned long long told; /* of the lost; the writer's, as is the next */
  uint64_t tell_after; /* ns */
  atomic_bool json, threaded, stopping;
  _Atomic(pt_log_target *) next; /* to be used from now on */
  pt_log_target *target; /* the writer's; NULL: standard error */
  pthread_t thread;
  sem_t wake;
  pthread_mutex_t keep; /* the last lines */
  pt_log_line *kept[PT_LOG_TAIL];
  unsigned long long nkept; /* ever */
} pt_log_sink;

/* Takes over line (malloc), NULL: counts as lost. */
void pt_log_sink_put(pt_log_sink *s, pt_log_line *line);
/* From now on lines go to t, which is taken over. Those that wait for a stalled reader of the old one go to the new one. */
void pt_log_sink_use(pt_log_sink *s, pt_log_target *t);
/* Starts the thread. 0, or -errno: lines are written as before. */
int pt_log_sink_start(pt_log_sink *s);
/* Writes what is in the queue and ends the thread; gives a stalled reader one second. */
void pt_log_sink_stop(pt_log_sink *s);
/* Waits until what has been put before is written, at most ms. */
void pt_log_sink_flush(pt_log_sink *s, unsigned ms);
/* The last lines, the oldest first, as a JSON array; the oldest are left out when cap bytes are too few. The length, without the NUL at its end. */
size_t pt_log_sink_tail(pt_log_sink *s, char *out, size_t cap);

#endif
