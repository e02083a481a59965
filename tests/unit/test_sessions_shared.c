/* The session table between two processes: one truth, uses by party, what a killed process leaves, and files that are no table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sessions_table.h"

#ifdef __SANITIZE_THREAD__
enum {
  KILLS = 30
}; /* forks and threads are slow under it */
#else
enum {
  KILLS = 200
};
#endif

enum {
  TIMEOUT = 1000000,
  T0 = 5000,
  KILLED_AT = 8, /* instructions of each call */
  THREADS = 4,
  KEYS = 64
};

static pt_sessions *t, *other;
static pt_session s;

/* What the processes of a test tell each other. */
static struct {
  atomic_uint winner[KEYS]; /* 1 + the backend the claims of a key agree on */
  atomic_uint disagreements, running, stop;
  atomic_int refused;
} * shared;

static int set_up(void **state) {
  (void)state;
  t = pt_sessions_new(1000, TIMEOUT);
  other = NULL;
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return !t || shared == MAP_FAILED;
}

static int tear_down(void **state) {
  (void)state;
  munmap(shared, sizeof *shared);
  pt_sessions_free(other);
  pt_sessions_free(t);
  return 0;
}

static pt_session_key key(uint64_t a) { return (pt_session_key){a, ~a}; }

#define IDENTITY(a) PT_SESSION_IDENTITY, key(a)
#define LSID(a) PT_SESSION_LSID, key(a)
#define CURSOR(id) PT_SESSION_CURSOR, ((pt_session_key){(uint64_t)(id), 0})

static int attach(pt_sessions *to, pt_sessions **out) { return pt_sessions_attach(dup(pt_sessions_fd(to)), out); }

static uint32_t uses(pt_sessions *in, pt_session_kind kind, pt_session_key k) {
  pt_session got;
  return pt_sessions_find(in, kind, k, T0, &got) ? got.uses : UINT32_MAX;
}

static void both_see_the_same(void **state) {
  (void)state;
  pt_sessions_configure(t, 10000, TIMEOUT);
  assert_int_equal(pt_sessions_claim(t, IDENTITY(1), T0, 3, 1, &s), 1);
  assert_int_equal(attach(t, &other), 0);
  assert_int_equal(pt_sessions_claim(other, IDENTITY(1), T0, 4, 1, &s), 0);
  assert_int_equal(s.backend, 3);
  assert_int_equal(s.uses, 2);
  assert_int_equal(pt_sessions_claim(other, LSID(2), T0, 5, 0, &s), 1);
  pt_sessions_txn(other, key(2), T0, 9, true);
  assert_true(pt_sessions_find(t, LSID(2), T0, &s) && s.backend == 5 && s.txn == 9 && s.in_txn);
  int64_t id = pt_sessions_cursor_open(t, T0, 5, 77, key(2));
  assert_true(pt_sessions_find(other, CURSOR(id), T0, &s) && s.value == 77 && s.uses == 1);
  assert_int_equal(pt_sessions_pinned(other, 5), 2);
  assert_true(pt_sessions_move(other, IDENTITY(1), T0, 3, 6, true, &s));
  assert_true(pt_sessions_find(t, IDENTITY(1), T0, &s) && s.backend == 6);
  for (uint64_t i = 100; i < 1100; i++) /* shards grow under both */
    assert_int_equal(pt_sessions_claim(i % 2 ? t : other, LSID(i), T0, 1, 0, &s), 1);
  for (uint64_t i = 200; i < 1100; i++)
    assert_true(pt_sessions_find(i % 2 ? other : t, LSID(i), T0, &s));
  pt_sessions_configure(other, 10, TIMEOUT); /* holds for both */
  for (uint64_t i = 2000; i < 4000; i++)
    pt_sessions_claim(t, LSID(i), T0, 1, 0, &s);
  assert_true(atomic_load(&t->table->count) <= 11);
  assert_true(pt_sessions_sound(t) && pt_sessions_sound(other));
}

static void uses_are_counted_by_party(void **state) {
  (void)state;
  assert_int_equal(attach(t, &other), 0);
  pt_sessions_claim(t, IDENTITY(1), T0, 3, 2, &s);
  pt_sessions_claim(other, IDENTITY(1), T0, 3, 3, &s);
  assert_int_equal(s.uses, 5);
  for (int i = 0; i < 9; i++) /* nobody gives back what the other uses */
    pt_sessions_release(t, IDENTITY(1), T0);
  assert_int_equal(uses(t, IDENTITY(1)), 3);
  pt_sessions_claim(t, IDENTITY(1), T0, 3, 1, &s);
  pt_sessions_free(other);
  other = NULL;
  assert_int_equal(uses(t, IDENTITY(1)), 1);
  pt_sessions_abandon(t); /* there is nobody */
  assert_int_equal(uses(t, IDENTITY(1)), 1);
  assert_true(pt_sessions_sound(t));
}

static void what_the_dead_used_is_free(void **state) {
  (void)state;
  assert_int_equal(attach(t, &other), 0);
  pt_sessions_claim(t, IDENTITY(1), T0, 3, 1, &s);
  pt_sessions_claim(other, IDENTITY(1), T0, 3, 4, &s);
  pt_sessions_claim(other, IDENTITY(2), T0, 3, 1, &s);
  pt_sessions_claim(other, LSID(3), T0, 3, 0, &s);
  pt_sessions_txn(other, key(3), T0, 1, true);
  int64_t id = pt_sessions_cursor_open(other, T0, 3, 1, key(3));
  other->table->count += 5; /* as if it had been killed on its way from one shard to another */
  other->table->pinned[7]++;
  pt_sessions_claim(other, LSID(4), T0, 3, 1, &s);
  assert_false(pt_sessions_sound(t));
  pt_sessions_abandon(t);
  assert_true(pt_sessions_sound(t));
  assert_int_equal(uses(t, IDENTITY(1)), 1);
  assert_int_equal(uses(t, IDENTITY(2)), 0);
  assert_int_equal(uses(t, LSID(3)), 1);
  assert_int_equal(uses(t, LSID(4)), 0);
  assert_int_equal(uses(t, CURSOR(id)), 1);
  assert_int_equal(pt_sessions_pinned(t, 3), 2);
  pt_sessions_cursor_close(t, id, T0);
  assert_int_equal(uses(t, LSID(3)), 0);
  pt_sessions *third;
  assert_int_equal(attach(t, &third), 0);
  pt_sessions_free(third);
}

static void two_at_most(void **state) {
  (void)state;
  pt_sessions *third;
  assert_int_equal(attach(t, &other), 0);
  assert_int_equal(attach(t, &third), -EBUSY);
  pt_sessions_free(t);
  assert_int_equal(attach(other, &t), 0);
  assert_int_equal(attach(other, &third), -EBUSY);
}

/* What a kill does to a party. */
static void lose(pt_sessions *party) {
  munmap(party->table, party->size);
  close(party->fd);
  pthread_rwlock_destroy(&party->crossing);
  free(party);
}

/* Upgrade after upgrade; every third leaves by a kill. */
static void many_upgrades(void **state) {
  (void)state;
  pt_sessions_claim(t, IDENTITY(1), T0, 5, 1, &s);
  pt_sessions_claim(t, LSID(1), T0, 6, 0, &s);
  int64_t id = pt_sessions_cursor_open(t, T0, 6, 1, key(1));
  for (unsigned i = 0; i < 20; i++) {
    assert_int_equal(attach(t, &other), 0);
    assert_int_equal(other->party, !t->party);
    pt_sessions_claim(other, IDENTITY(1), T0, 9, 1, &s); /* the connection moves over */
    assert_int_equal(s.uses, 2);
    if (i % 3) {
      pt_sessions_release(t, IDENTITY(1), T0);
      pt_sessions_free(t);
    } else {
      pt_sessions_abandon(other);
      lose(t);
    }
    t = other;
    other = NULL;
    assert_true(pt_sessions_find(t, IDENTITY(1), T0, &s) && s.backend == 5 && s.uses == 1);
    assert_true(pt_sessions_find(t, LSID(1), T0, &s) && s.backend == 6 && s.uses == 1);
    assert_true(pt_sessions_find(t, CURSOR(id), T0, &s) && s.backend == 6);
    assert_true(pt_sessions_sound(t));
  }
}

/* ---- two processes ---- */

static void *work(void *arg) {
  pt_sessions *in = other ? other : t;
  unsigned me = (unsigned)(uintptr_t)arg, rng = me + 1;
  uint64_t mine = 1000 + me;
  pt_session got;
  atomic_fetch_add(&shared->running, 1);
  for (unsigned i = 0; i < 100000000 && !atomic_load(&shared->stop); i++) {
    uint64_t k = (unsigned)rand_r(&rng) % KEYS;
    unsigned nobody = 0;
    if (pt_sessions_claim(in, IDENTITY(k), T0, me, 1, &got) < 0)
      atomic_fetch_add(&shared->disagreements, 1);
    if (!atomic_compare_exchange_strong(&shared->winner[k], &nobody, got.backend + 1) && nobody != got.backend + 1)
      atomic_fetch_add(&shared->disagreements, 1);
    pt_sessions_release(in, IDENTITY(k), T0);
    pt_sessions_claim(in, LSID(mine), T0, me, 0, &got);
    pt_sessions_txn(in, key(mine), T0, i, i % 2);
    int64_t id = pt_sessions_cursor_open(in, T0, me, i, key(i % 3 ? mine : k));
    if (!pt_sessions_find(in, CURSOR(id), T0, &got) || got.value != (int64_t)i || got.backend != me)
      atomic_fetch_add(&shared->disagreements, 1);
    pt_sessions_claim(in, LSID(k), T0, me, 0, &got);
    pt_sessions_move(in, LSID(k), T0, got.backend, me, false, &got);
    pt_sessions_cursor_close(in, id, T0);
    pt_sessions_claim(in, LSID(5000 + (unsigned)rand_r(&rng) % 500), T0, me, 0, &got);
    pt_sessions_drop(in, LSID(5000 + (unsigned)rand_r(&rng) % 500));
    if (i % 64 == 0) {
      pt_sessions_sweep(in, T0);
      pt_sessions_forget_backend(in, 2 * THREADS);
    }
  }
  return NULL;
}

static void start(pthread_t thread[THREADS], unsigned first) {
  for (unsigned i = 0; i < THREADS; i++)
    if (pthread_create(&thread[i], NULL, work, (void *)(uintptr_t)(first + i)))
      abort();
}

static void join(pthread_t thread[THREADS]) {
  for (unsigned i = 0; i < THREADS; i++)
    pthread_join(thread[i], NULL);
}

/* A process that comes as the other party and works until it is told to stop. */
static pid_t second_process(void) {
  pid_t pid = fork();
  if (pid)
    return pid;
  pthread_t thread[THREADS];
  int rc = attach(t, &other);
  if (rc)
    atomic_store(&shared->refused, rc);
  if (rc)
    _exit(1);
  start(thread, THREADS);
  join(thread);
  pt_sessions_free(other);
  _exit(0);
}

static void wait_for_threads(unsigned n) {
  while (atomic_load(&shared->running) < n && !atomic_load(&shared->refused))
    usleep(100);
}

static void nothing_is_left_open(void) {
  for (uint64_t k = 0; k < KEYS; k++) {
    assert_true(!pt_sessions_find(t, IDENTITY(k), T0, &s) || s.uses == 0);
    assert_true(!pt_sessions_find(t, LSID(k), T0, &s) || s.uses == 0);
  }
  assert_int_equal(pt_sessions_stat(t).entries[PT_SESSION_CURSOR], 0);
  for (unsigned i = 0; i < 2 * THREADS; i++)
    assert_int_equal(uses(t, LSID(1000 + i)), 0);
}

static void processes_agree(void **state) {
  (void)state;
  pthread_t thread[THREADS];
  int status;
  pid_t pid = second_process();
  assert_true(pid > 0);
  start(thread, 0);
  wait_for_threads(2 * THREADS);
  usleep(700000);
  atomic_store(&shared->stop, 1);
  join(thread);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
  assert_int_equal(shared->disagreements, 0);
  assert_true(pt_sessions_sound(t));
  nothing_is_left_open();
  assert_int_equal(pt_sessions_stat(t).repaired, 0);
}

/* The other process is killed at any moment, again and again, while this one works on. */
static void killed_at_any_moment(void **state) {
  (void)state;
  unsigned rng = 1;
  for (unsigned i = 0; i < KILLS; i++) {
    pthread_t thread[THREADS];
    int status;
    atomic_store(&shared->stop, 0);
    atomic_store(&shared->running, 0);
    pid_t pid = second_process();
    assert_true(pid > 0);
    if (i % 2)
      start(thread, 0);
    wait_for_threads(i % 2 ? 2 * THREADS : THREADS);
    usleep((unsigned)rand_r(&rng) % 2000);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(shared->refused, 0);
    assert_true(WIFSIGNALED(status));
    pt_sessions_abandon(t);
    if (i % 2) {
      atomic_store(&shared->stop, 1);
      join(thread);
    }
    assert_int_equal(shared->disagreements, 0);
    assert_true(pt_sessions_sound(t));
    for (unsigned b = 0; b < 2 * THREADS; b++) /* cursors it left open */
      pt_sessions_forget_backend(t, b);
    for (unsigned k = 0; k < 2 * THREADS; k++)
      pt_sessions_claim(t, LSID(1000 + k), T0, 1, 0, &s);
    nothing_is_left_open();
  }
  assert_true(pt_sessions_stat(t).repaired > 0); /* the moments were good */
}

/* ---- killed at a given instruction of a call ---- */

#ifndef __SANITIZE_THREAD__ /* it has one thread */

static int64_t cursor;
static uint64_t one_more;

static void make(void) { pt_sessions_claim(other, LSID(500), T0, 2, 0, &s); }
static void use(void) { pt_sessions_claim(other, IDENTITY(1), T0, 2, 1, &s); }
static void stop_using(void) { pt_sessions_release(other, IDENTITY(2), T0); }
static void begin(void) { pt_sessions_txn(other, key(1), T0, 4, true); }
static void move(void) { pt_sessions_move(other, LSID(2), T0, 2, 3, true, &s); }
static void drop(void) { pt_sessions_drop(other, LSID(2)); }
static void close_cursor(void) { pt_sessions_cursor_close(other, cursor, T0); }
static void grow(void) { pt_sessions_claim(other, LSID(one_more), T0, 2, 0, &s); }

static void fill_a_shard(void) {
  uint64_t i = 1000;
  for (; t->shards[0].head->n < FIRST_NODES; i++)
    pt_sessions_claim(t, LSID(i), T0, 2, 0, &s);
  while (pt_hash_of(t, PT_SESSION_LSID, key(i)) >> SHARD_SHIFT)
    i++;
  one_more = i;
}

/* The table before each. */
static void furnish(bool full) {
  t = pt_sessions_new(100000, TIMEOUT);
  assert_non_null(t);
  assert_int_equal(attach(t, &other), 0);
  pt_sessions_claim(t, IDENTITY(2), T0, 2, 1, &s);
  pt_sessions_claim(other, IDENTITY(2), T0, 2, 1, &s);
  for (unsigned i = 1; i < 4; i++)
    pt_sessions_claim(t, LSID(i), T0, 2, 0, &s);
  pt_sessions_txn(t, key(2), T0, 4, true);
  cursor = pt_sessions_cursor_open(t, T0, 2, 7, key(1));
  if (full)
    fill_a_shard();
}

/* Does a call in a process of its own, which is killed after so many instructions. The number of them when it came to its end before that. */
static unsigned killed_after(unsigned steps, void (*call)(void)) {
  int status;
  unsigned done = 0;
  pid_t pid = fork();
  if (!pid) {
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGTRAP);
    call();
    raise(SIGUSR1);
  }
  assert_int_equal(waitpid(pid, &status, 0), pid);
  while (done < steps && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP) {
    assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    done++;
  }
  kill(pid, SIGKILL);
  assert_int_equal(waitpid(pid, NULL, 0), pid);
  return WIFSTOPPED(status) && WSTOPSIG(status) == SIGUSR1 ? done : 0;
}

/* Whether a shard was found in the middle of the call. */
static bool recovers(unsigned steps, void (*call)(void), unsigned *all) {
  furnish(call == grow);
  *all = killed_after(steps, call);
  pt_sessions_abandon(t);
  bool repaired = pt_sessions_stat(t).repaired > 0;
  assert_true(pt_sessions_sound(t));
  uint32_t left = uses(t, IDENTITY(2));
  assert_int_equal(left, 1);
  pt_sessions_forget_backend(t, 2);
  assert_int_equal(uses(t, LSID(1)), 0);
  assert_int_equal(uses(t, LSID(3)), 0);
  assert_int_equal(pt_sessions_pinned(t, 2) + pt_sessions_pinned(t, 3), 0);
  assert_true(pt_sessions_sound(t));
  lose(other);
  pt_sessions_free(t);
  t = other = NULL;
  return repaired;
}

static void killed_at_many_instructions(void **state) {
  (void)state;
  static void (*const calls[])(void) = {make, use, stop_using, begin, move, drop, close_cursor, grow};
  pt_sessions_free(t);
  t = NULL;
  for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++) {
    unsigned all, ended, repaired = 0;
    assert_false(recovers(UINT_MAX, calls[i], &all));
    assert_true(all > KILLED_AT);
    for (unsigned k = 0; k < KILLED_AT; k++)
      repaired += recovers(all / KILLED_AT * k + k, calls[i], &ended);
    assert_true(repaired > 0);
  }
}

#endif

/* ---- files that are no table ---- */

static int memfd(size_t size, int seals) {
  int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  assert_true(fd >= 0);
  assert_int_equal(ftruncate(fd, (off_t)size), 0);
  assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
  return fd;
}

/* The same bytes in another file, holes included. */
static int copy_of(const pt_sessions *of, int seals) {
  static char page[4096];
  int from = pt_sessions_fd(of), to = memfd(of->size, seals);
  for (off_t at = 0; (at = lseek(from, at, SEEK_DATA)) >= 0; at += (off_t)sizeof page) {
    assert_int_equal(pread(from, page, sizeof page, at), sizeof page);
    assert_int_equal(pwrite(to, page, sizeof page, at), sizeof page);
  }
  return to;
}

enum {
  SEALED = F_SEAL_SHRINK | F_SEAL_GROW
};

static void fill(void) {
  for (uint64_t i = 0; i < 300; i++) {
    pt_sessions_claim(t, IDENTITY(i), T0, 1, i % 3, &s);
    pt_sessions_claim(t, LSID(i), T0, 1, 0, &s);
    if (i % 2)
      pt_sessions_cursor_open(t, T0, 1, 7, key(i));
    if (i % 5 == 0)
      pt_sessions_drop(t, LSID(i));
  }
}

static void not_a_table(void **state) {
  (void)state;
  pt_sessions *got = NULL;
  int pipes[2];
  assert_int_equal(pipe(pipes), 0);
  close(pipes[1]);
  assert_int_equal(pt_sessions_attach(pipes[0], &got), -EPROTO);
  assert_int_equal(fcntl(pipes[0], F_GETFD), -1); /* it is taken over all the same */
  assert_int_equal(pt_sessions_attach(-1, &got), -EPROTO);
  assert_int_equal(pt_sessions_attach(open("/dev/zero", O_RDWR | O_CLOEXEC), &got), -EPROTO);
  assert_int_equal(pt_sessions_attach(open("/proc/self/exe", O_RDONLY | O_CLOEXEC), &got), -EPROTO);
  assert_int_equal(pt_sessions_attach(memfd(0, SEALED), &got), -EPROTO);
  assert_int_equal(pt_sessions_attach(memfd(100, SEALED), &got), -EPROTO);
  assert_int_equal(pt_sessions_attach(memfd(t->size, SEALED), &got), -EPROTO);
  assert_int_equal(pt_sessions_attach(copy_of(t, 0), &got), -EPROTO);
  assert_int_equal(pt_sessions_attach(copy_of(t, F_SEAL_GROW), &got), -EPROTO);
  int fd = copy_of(t, SEALED);
  assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
  assert_int_equal(pt_sessions_attach(fd, &got), -EPROTO);
  fd = copy_of(t, 0);
  assert_int_equal(ftruncate(fd, (off_t)t->size - 4096), 0);
  assert_int_equal(fcntl(fd, F_ADD_SEALS, SEALED), 0);
  assert_int_equal(pt_sessions_attach(fd, &got), -EPROTO);
  assert_null(got);
}

/* A copy with n bytes at a place of t's memory set to something else. */
static int with(const void *place, const void *bytes, size_t n) {
  pt_sessions *got;
  int fd = copy_of(t, SEALED);
  assert_int_equal(pwrite(fd, bytes, n, (const char *)place - (const char *)t->table), n);
  int rc = pt_sessions_attach(fd, &got);
  if (!rc)
    pt_sessions_free(got);
  return rc;
}
#define WITH(place, value) with(&(place), &(typeof(place)){value}, sizeof(place))

static void not_a_sound_table(void **state) {
  (void)state;
  fill();
  pt_table *h = t->table;
  shard *d = &t->shards[3];
  node *x = &d->nodes[d->head->n - 1];
  while (x->kind == FREE)
    x--;
  uint32_t i = (uint32_t)(x - d->nodes);
  uint64_t a = 1; /* of a key that belongs elsewhere */
  while (pt_hash_of(t, x->kind, (pt_session_key){a, x->b}) >> SHARD_SHIFT == 3)
    a++;
  assert_int_equal(WITH(h->version, PT_TABLE_VERSION), 0);
  assert_int_equal(WITH(h->magic, 0), -EPROTO);
  assert_int_equal(WITH(h->version, PT_TABLE_VERSION + 1), -EPROTO);
  assert_int_equal(WITH(h->size, 1), -EPROTO);
  assert_int_equal(WITH(h->reach, REACH / 2), -EPROTO);
  assert_int_equal(WITH(h->reach, 0), -EPROTO);
  assert_int_equal(WITH(h->party[1], 1), -EBUSY);
  assert_int_equal(with(&d->head->lock, &(pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER, sizeof(pthread_mutex_t)), -EPROTO);
  assert_int_equal(WITH(d->head->cap, 0), -EPROTO);
  assert_int_equal(WITH(d->head->cap, 3 * FIRST_NODES), -EPROTO);
  assert_int_equal(WITH(d->head->cap, 1u << 31), -EPROTO);
  assert_int_equal(WITH(d->head->n, UINT32_MAX), -EPROTO);
  assert_int_equal(WITH(d->head->n, 0), -EPROTO);
  assert_int_equal(WITH(d->head->free, UINT32_MAX), -EPROTO);
  assert_int_equal(WITH(d->head->free, i), -EPROTO);
  assert_int_equal(WITH(d->head->stats.entries[0], 5000), -EPROTO);
  assert_int_equal(WITH(d->buckets[1], UINT32_MAX), -EPROTO);
  assert_int_equal(WITH(d->buckets[1], IDLE), d->buckets[1] ? -EPROTO : 0);
  assert_int_equal(WITH(x->chain, UINT32_MAX), -EPROTO);
  assert_int_equal(WITH(x->chain, i), -EPROTO); /* a circle */
  assert_int_equal(WITH(x->next, UINT32_MAX), -EPROTO);
  assert_int_equal(WITH(x->next, i), -EPROTO);
  assert_int_equal(WITH(x->prev, UINT32_MAX), -EPROTO);
  assert_int_equal(WITH(x->backend, PT_SESSION_BACKENDS), -EPROTO);
  assert_int_equal(WITH(x->kind, 200), -EPROTO);
  assert_int_equal(WITH(x->a, a), -EPROTO);
  assert_int_equal(WITH(d->nodes[IDLE].next, UINT32_MAX), -EPROTO);
  assert_int_equal(WITH(d->nodes[BUSY].prev, UINT32_MAX), -EPROTO);
}

/* A lock nobody will ever release. */
static void a_lock_that_is_held(void **state) {
  (void)state;
  pt_sessions *got;
  pthread_mutex_lock(&t->shards[9].head->lock);
  assert_int_equal(attach(t, &got), -ETIMEDOUT);
  pthread_mutex_unlock(&t->shards[9].head->lock);
  assert_int_equal(attach(t, &got), 0);
  pt_sessions_free(got);
}

/* Bytes set at random: refused or usable, but no crash and no endless loop. */
static void random_damage(void **state) {
  (void)state;
  unsigned rng = 1, refused = 0;
  fill();
  for (unsigned i = 0; i < 400; i++) {
    pt_sessions *got;
    int fd = copy_of(t, SEALED);
    for (int k = 0; k < 4; k++) {
      const shard *d = &t->shards[(unsigned)rand_r(&rng) % SHARDS];
      const char *at = (unsigned)rand_r(&rng) % 2 ? (const char *)&d->nodes[(unsigned)rand_r(&rng) % d->head->n]
                                                  : (const char *)&d->buckets[(unsigned)rand_r(&rng) % d->head->cap];
      if (k == 3)
        at = (const char *)&d->head->cap;
      uint8_t byte = (uint8_t)rand_r(&rng);
      off_t offset = at + (unsigned)rand_r(&rng) % (at == (const char *)&d->head->cap ? 12 : sizeof(node)) - (char *)t->table;
      if (k < 3 || i % 4 == 0)
        assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
    }
    if (pt_sessions_attach(fd, &got)) {
      refused++;
      continue;
    }
    for (uint64_t k = 0; k < 300; k++) {
      pt_sessions_claim(got, IDENTITY(k), T0, 2, 1, &s);
      pt_sessions_drop(got, LSID(k));
    }
    pt_sessions_forget_backend(got, 1);
    pt_sessions_free(got);
  }
  assert_in_range(refused, 100, 399);
}

/* ---- without a file ---- */

static void a_table_of_our_own(void **state) {
  (void)state;
  struct rlimit was, none = {1 << 20, RLIM_INFINITY};
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
  none.rlim_max = was.rlim_max;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
  pt_sessions *own = pt_sessions_new(100, TIMEOUT);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
  assert_non_null(own);
  assert_int_equal(pt_sessions_fd(own), -ENOTSUP);
  for (uint64_t i = 0; i < 1000; i++)
    assert_int_equal(pt_sessions_claim(own, IDENTITY(i), T0, 3, 0, &s), 1);
  assert_true(pt_sessions_sound(own));
  pt_sessions_free(own);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(both_see_the_same),
      TEST(uses_are_counted_by_party),
      TEST(what_the_dead_used_is_free),
      TEST(two_at_most),
      TEST(many_upgrades),
      TEST(processes_agree),
      TEST(killed_at_any_moment),

#ifndef __SANITIZE_THREAD__
      TEST(killed_at_many_instructions),
#endif
      TEST(not_a_table),
      TEST(not_a_sound_table),
      TEST(a_lock_that_is_held),
      TEST(random_damage),
      TEST(a_table_of_our_own),
  };
  return cmocka_run_group_tests_name("sessions shared", tests, NULL, NULL);
}
