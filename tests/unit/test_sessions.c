/* The session table: what it remembers and for how long, what gives way when it is full, and several threads at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/sessions.h"

enum {
  TIMEOUT = 1000,
  T0 = 5000 /* ms; when tests begin */
};

static pt_sessions *t;
static pt_session s;

static int set_up(void **state) {
  (void)state;
  t = pt_sessions_new(1000, TIMEOUT);
  return !t;
}

static int tear_down(void **state) {
  (void)state;
  pt_sessions_free(t);
  return 0;
}

static pt_session_key key(uint64_t a) { return (pt_session_key){a, ~a}; }

static size_t entries(pt_session_kind kind) { return pt_sessions_stat(t).entries[kind]; }

static void sweep_all(uint64_t now) {
  for (int i = 0; i < 64; i++)
    pt_sessions_sweep(t, now);
}

#define IDENTITY(a) PT_SESSION_IDENTITY, key(a)
#define LSID(a) PT_SESSION_LSID, key(a)
#define CURSOR(id) PT_SESSION_CURSOR, ((pt_session_key){(uint64_t)(id), 0})
static const pt_session_key nobody = {0, 0};

static void the_first_claim_wins(void **state) {
  (void)state;
  assert_false(pt_sessions_find(t, IDENTITY(1), T0, &s));
  assert_int_equal(pt_sessions_claim(t, IDENTITY(1), T0, 3, 1, &s), 1);
  assert_int_equal(s.backend, 3);
  assert_int_equal(s.uses, 1);
  assert_int_equal(pt_sessions_claim(t, IDENTITY(1), T0, 4, 1, &s), 0);
  assert_int_equal(s.backend, 3);
  assert_int_equal(s.uses, 2);
  assert_true(pt_sessions_find(t, IDENTITY(1), T0, &s));
  assert_int_equal(s.uses, 2);
  assert_int_equal(s.txn, -1);
  pt_sessions_stats st = pt_sessions_stat(t);
  assert_int_equal(st.made, 1);
  assert_int_equal(st.found, 1);
}

static void kinds_and_both_halves_of_a_key_differ(void **state) {
  (void)state;
  pt_session_key a = {7, 1}, b = {7, 2};
  pt_sessions_claim(t, PT_SESSION_LSID, a, T0, 1, 0, &s);
  pt_sessions_claim(t, PT_SESSION_LSID, b, T0, 2, 0, &s);
  pt_sessions_claim(t, PT_SESSION_IDENTITY, a, T0, 3, 0, &s);
  assert_true(pt_sessions_find(t, PT_SESSION_LSID, a, T0, &s) && s.backend == 1);
  assert_true(pt_sessions_find(t, PT_SESSION_LSID, b, T0, &s) && s.backend == 2);
  assert_true(pt_sessions_find(t, PT_SESSION_IDENTITY, a, T0, &s) && s.backend == 3);
  assert_false(pt_sessions_find(t, PT_SESSION_IDENTITY, b, T0, &s));
}

static void backends_that_do_not_exist(void **state) {
  (void)state;
  assert_int_equal(pt_sessions_claim(t, IDENTITY(1), T0, PT_SESSION_BACKENDS, 1, &s), -EINVAL);
  assert_int_equal(pt_sessions_cursor_open(t, T0, PT_SESSION_BACKENDS, 1, nobody), 0);
  assert_int_equal(pt_sessions_claim(t, IDENTITY(1), T0, PT_SESSION_BACKENDS - 1, 1, &s), 1);
  assert_true(pt_sessions_move(t, IDENTITY(1), T0, PT_SESSION_BACKENDS - 1, PT_SESSION_BACKENDS, true, &s));
  assert_int_equal(s.backend, PT_SESSION_BACKENDS - 1);
  assert_int_equal(pt_sessions_pinned(t, PT_SESSION_BACKENDS), 0);
}

/* ---- time ---- */

static void the_timeout_slides(void **state) {
  (void)state;
  pt_sessions_claim(t, LSID(1), T0, 1, 0, &s);
  assert_true(pt_sessions_find(t, LSID(1), T0 + TIMEOUT - 1, &s));
  assert_true(pt_sessions_find(t, LSID(1), T0 + 2 * TIMEOUT - 2, &s));
  assert_false(pt_sessions_find(t, LSID(1), T0 + 3 * TIMEOUT, &s));
  assert_int_equal(pt_sessions_stat(t).expired, 1);
  assert_int_equal(entries(PT_SESSION_LSID), 0);
  assert_int_equal(pt_sessions_claim(t, LSID(1), T0 + 3 * TIMEOUT, 2, 0, &s), 1);
  assert_int_equal(s.backend, 2);
}

static void what_is_used_stays(void **state) {
  (void)state;
  pt_sessions_claim(t, IDENTITY(1), T0, 1, 1, &s);
  sweep_all(T0 + 10 * TIMEOUT);
  assert_true(pt_sessions_find(t, IDENTITY(1), T0 + 10 * TIMEOUT, &s));
  pt_sessions_release(t, IDENTITY(1), T0 + 20 * TIMEOUT);
  assert_true(pt_sessions_find(t, IDENTITY(1), T0 + 21 * TIMEOUT - 1, &s));
  assert_int_equal(s.uses, 0);
  pt_sessions_release(t, IDENTITY(1), T0 + 21 * TIMEOUT);
  assert_true(pt_sessions_find(t, IDENTITY(1), T0 + 21 * TIMEOUT, &s));
  assert_int_equal(s.uses, 0);
  sweep_all(T0 + 22 * TIMEOUT);
  assert_int_equal(entries(PT_SESSION_IDENTITY), 0);
  assert_false(pt_sessions_find(t, IDENTITY(1), T0 + 21 * TIMEOUT, &s));
}

/* Backends forget cursors and transactions of clients that have gone; so does the table. */
static void abandoned_cursors_and_transactions_end(void **state) {
  (void)state;
  pt_sessions_claim(t, LSID(1), T0, 5, 0, &s);
  pt_sessions_claim(t, LSID(2), T0, 5, 0, &s);
  int64_t id = pt_sessions_cursor_open(t, T0, 5, 99, key(1));
  pt_sessions_txn(t, key(2), T0, 1, true);
  assert_int_equal(pt_sessions_pinned(t, 5), 2);
  assert_false(pt_sessions_find(t, CURSOR(id), T0 + TIMEOUT, &s));
  sweep_all(T0 + TIMEOUT); /* the cursor, and the session with the transaction */
  assert_int_equal(pt_sessions_pinned(t, 5), 0);
  assert_int_equal(entries(PT_SESSION_CURSOR), 0);
  sweep_all(T0 + 2 * TIMEOUT); /* the session that had the cursor until now */
  assert_int_equal(entries(PT_SESSION_LSID), 0);
  assert_int_equal(pt_sessions_stat(t).expired, 3);
}

static void many_expire_in_one_sweep(void **state) {
  (void)state;
  pt_sessions_configure(t, 100000, TIMEOUT);
  pt_sessions_claim(t, LSID(0), T0, 1, 0, &s);
  for (uint64_t i = 1; i < 20000; i++)
    assert_true(pt_sessions_cursor_open(t, T0, 1, 0, key(0)) > 0);
  pt_sessions_find(t, LSID(0), T0 + 500, &s);
  assert_int_equal(s.uses, 19999);
  sweep_all(T0 + TIMEOUT);
  assert_int_equal(entries(PT_SESSION_CURSOR), 0);
  assert_int_equal(pt_sessions_pinned(t, 1), 0);
  assert_true(pt_sessions_find(t, LSID(0), T0 + TIMEOUT, &s));
  assert_int_equal(s.uses, 0);
}

/* ---- moving ---- */

static void moves_once(void **state) {
  (void)state;
  assert_false(pt_sessions_move(t, IDENTITY(1), T0, 1, 2, false, &s));
  pt_sessions_claim(t, IDENTITY(1), T0, 1, 4, &s);
  assert_true(pt_sessions_move(t, IDENTITY(1), T0, 1, 2, false, &s));
  assert_int_equal(s.backend, 2);
  assert_int_equal(s.uses, 4);
  assert_true(pt_sessions_move(t, IDENTITY(1), T0, 1, 3, false, &s)); /* somebody else did it */
  assert_int_equal(s.backend, 2);
  assert_int_equal(pt_sessions_stat(t).moved, 1);
}

static void a_transaction_holds_its_session(void **state) {
  (void)state;
  pt_sessions_txn(t, key(1), T0, 7, true); /* there is none: nothing happens */
  assert_false(pt_sessions_find(t, LSID(1), T0, &s));
  pt_sessions_claim(t, LSID(1), T0, 1, 0, &s);
  pt_sessions_txn(t, key(1), T0, 7, true);
  pt_sessions_txn(t, key(1), T0, 7, true);
  assert_int_equal(pt_sessions_pinned(t, 1), 1);
  assert_true(pt_sessions_move(t, LSID(1), T0, 1, 2, false, &s));
  assert_int_equal(s.backend, 1);
  assert_true(s.in_txn);
  assert_int_equal(s.txn, 7);
  assert_true(pt_sessions_move(t, LSID(1), T0, 1, 2, true, &s));
  assert_int_equal(s.backend, 2);
  assert_false(s.in_txn);
  assert_int_equal(s.txn, -1);
  assert_int_equal(pt_sessions_pinned(t, 1) + pt_sessions_pinned(t, 2), 0);
  pt_sessions_txn(t, key(1), T0, 8, true);
  assert_int_equal(pt_sessions_pinned(t, 2), 1);
  pt_sessions_txn(t, key(1), T0, 8, false);
  assert_int_equal(pt_sessions_pinned(t, 2), 0);
  assert_true(pt_sessions_move(t, LSID(1), T0, 2, 3, false, &s));
  assert_int_equal(s.backend, 3);
}

/* ---- cursors ---- */

static void cursors(void **state) {
  (void)state;
  pt_sessions_claim(t, LSID(1), T0, 1, 0, &s);
  int64_t a = pt_sessions_cursor_open(t, T0, 1, 42, key(1)), b = pt_sessions_cursor_open(t, T0, 1, 42, key(2)),
          c = pt_sessions_cursor_open(t, T0, 2, -42, nobody);
  assert_true(a > 0 && b > 0 && c > 0 && a != b && b != c && a != c);
  assert_true(pt_sessions_find(t, CURSOR(a), T0, &s));
  assert_int_equal(s.backend, 1);
  assert_int_equal(s.value, 42);
  assert_int_equal(s.uses, 1);
  assert_memory_equal(&s.owner, &((pt_session_key){1, ~1ull}), sizeof s.owner);
  assert_true(pt_sessions_find(t, CURSOR(b), T0, &s));
  assert_memory_equal(&s.owner, &nobody, sizeof s.owner); /* session 2 is not known */
  assert_true(pt_sessions_find(t, CURSOR(c), T0, &s));
  assert_int_equal(s.value, -42);
  assert_int_equal(s.txn, -1);
  assert_int_equal(pt_sessions_pinned(t, 1), 2);
  assert_int_equal(pt_sessions_pinned(t, 2), 1);
  assert_true(pt_sessions_move(t, LSID(1), T0, 1, 2, false, &s)); /* its cursor holds it */
  assert_int_equal(s.backend, 1);
  assert_int_equal(s.uses, 1);
  assert_true(pt_sessions_move(t, CURSOR(a), T0, 1, 2, true, &s)); /* cursors never move */
  assert_int_equal(s.backend, 1);
  pt_sessions_cursor_close(t, a, T0);
  pt_sessions_cursor_close(t, a, T0);
  assert_false(pt_sessions_find(t, CURSOR(a), T0, &s));
  assert_true(pt_sessions_find(t, LSID(1), T0, &s));
  assert_int_equal(s.uses, 0);
  pt_sessions_drop(t, CURSOR(b));
  pt_sessions_drop(t, CURSOR(c));
  assert_int_equal(pt_sessions_pinned(t, 1) + pt_sessions_pinned(t, 2), 0);
  assert_int_equal(entries(PT_SESSION_CURSOR), 0);
}

static void dropping_a_session_with_cursors(void **state) {
  (void)state;
  pt_sessions_claim(t, LSID(1), T0, 1, 0, &s);
  pt_sessions_txn(t, key(1), T0, 1, true);
  int64_t a = pt_sessions_cursor_open(t, T0, 1, 42, key(1));
  pt_sessions_drop(t, LSID(1));
  assert_int_equal(pt_sessions_pinned(t, 1), 1);
  pt_sessions_cursor_close(t, a, T0);
  assert_int_equal(pt_sessions_pinned(t, 1), 0);
  assert_false(pt_sessions_find(t, LSID(1), T0, &s));
}

static void a_backend_forgets(void **state) {
  (void)state;
  enum {
    N = 300
  };
  int64_t ids[2][N];
  for (uint64_t i = 0; i < N; i++)
    for (uint32_t b = 0; b < 2; b++) {
      assert_int_equal(pt_sessions_claim(t, LSID(2 * i + b), T0, b, 0, &s), 1);
      if (i % 2)
        pt_sessions_txn(t, key(2 * i + b), T0, 1, true);
      ids[b][i] = i % 3 ? 0 : pt_sessions_cursor_open(t, T0, b, 7, key(2 * i + b));
    }
  pt_sessions_claim(t, IDENTITY(1), T0, 1, 5, &s);
  assert_int_equal(pt_sessions_pinned(t, 1), N / 2 + N / 3);
  pt_sessions_forget_backend(t, 1);
  assert_int_equal(pt_sessions_pinned(t, 1), 0);
  assert_int_equal(pt_sessions_pinned(t, 0), N / 2 + N / 3);
  for (uint64_t i = 0; i < N; i++)
    for (uint32_t b = 0; b < 2; b++) {
      assert_true(pt_sessions_find(t, LSID(2 * i + b), T0, &s));
      assert_int_equal(s.in_txn, !b && i % 2);
      assert_int_equal(s.uses, !b && !(i % 3));
      if (ids[b][i])
        assert_int_equal(pt_sessions_find(t, CURSOR(ids[b][i]), T0, &s), !b);
    }
  assert_true(pt_sessions_find(t, IDENTITY(1), T0, &s));
  assert_int_equal(s.uses, 5);
}

/* ---- when it is full ---- */

static void the_unused_give_way_first(void **state) {
  (void)state;
  enum {
    MAX = 300
  };
  pt_sessions_configure(t, MAX, 1000 * TIMEOUT);
  for (uint64_t i = 0; i < MAX / 3; i++) {
    pt_sessions_claim(t, IDENTITY(i), T0, 1, 1, &s); /* the oldest are in use */
    pt_sessions_claim(t, LSID(i), T0, 1, 0, &s);
    pt_sessions_txn(t, key(i), T0, 1, true);
  }
  for (uint64_t i = 0; i < 10000; i++)
    assert_int_equal(pt_sessions_claim(t, IDENTITY(MAX + i), T0 + 1 + i, 1, 0, &s), 1);
  assert_int_equal(entries(PT_SESSION_IDENTITY) + entries(PT_SESSION_LSID), MAX);
  for (uint64_t i = 0; i < MAX / 3; i++)
    assert_true(pt_sessions_find(t, IDENTITY(i), T0, &s) && pt_sessions_find(t, LSID(i), T0, &s));
  assert_int_equal(pt_sessions_stat(t).evicted, 10000 + 2 * MAX / 3 - MAX);
}

static void when_all_are_in_use_the_oldest_give_way(void **state) {
  (void)state;
  pt_sessions_configure(t, 100, TIMEOUT);
  pt_sessions_claim(t, LSID(1), T0, 1, 0, &s);
  for (uint64_t i = 0; i < 1000; i++)
    assert_true(pt_sessions_cursor_open(t, T0, 1, 0, key(1)) > 0);
  assert_in_range(entries(PT_SESSION_CURSOR), 99, 100);
  assert_int_equal(pt_sessions_pinned(t, 1), entries(PT_SESSION_CURSOR));
  if (pt_sessions_find(t, LSID(1), T0, &s))
    assert_true(s.uses <= 100);
}

/* In one shard the order is exact; over all of them the old ones go. */
static void the_least_recently_used_go(void **state) {
  (void)state;
  enum {
    N = 20000
  };
  pt_sessions_configure(t, N, 1000000000);
  for (uint64_t i = 0; i < N; i++)
    pt_sessions_claim(t, LSID(i), T0, 1, 0, &s);
  for (uint64_t i = 0; i < N / 2; i++)
    assert_true(pt_sessions_find(t, LSID(i), T0 + 1, &s)); /* the older half is used again */
  for (uint64_t i = 0; i < N / 4; i++)
    pt_sessions_claim(t, LSID(N + i), T0 + 2, 1, 0, &s);
  for (uint64_t i = 0; i < N / 2; i++)
    assert_true(pt_sessions_find(t, LSID(i), T0 + 3, &s));
  unsigned left = 0;
  for (uint64_t i = N / 2; i < N; i++)
    left += pt_sessions_find(t, LSID(i), T0 + 3, &s);
  assert_int_equal(left, N / 4);
}

static void a_smaller_maximum_is_reached(void **state) {
  (void)state;
  for (uint64_t i = 0; i < 1000; i++)
    pt_sessions_claim(t, LSID(i), T0, 1, 0, &s);
  pt_sessions_configure(t, 10, TIMEOUT);
  assert_int_equal(entries(PT_SESSION_LSID), 1000);
  for (uint64_t i = 0; i < 1000; i++)
    pt_sessions_claim(t, LSID(1000 + i), T0, 1, 0, &s);
  assert_int_equal(entries(PT_SESSION_LSID), 10);
  assert_true(pt_sessions_find(t, LSID(1999), T0, &s));
}

/* ---- threads ---- */

enum {
  THREADS = 4,
  ROUNDS = 20000,
  SHARED_KEYS = 64
};

static atomic_uint winner[SHARED_KEYS]; /* 1 + the backend the claims of a key agree on */
static atomic_int disagreements;

static void *worker(void *arg) {
  unsigned me = (unsigned)(uintptr_t)arg, rng = me + 1;
  pt_session got;
  for (unsigned i = 0; i < ROUNDS; i++) {
    uint64_t k = (unsigned)rand_r(&rng) % SHARED_KEYS;
    unsigned none = 0;
    if (pt_sessions_claim(t, IDENTITY(k), T0, me, 1, &got) < 0)
      disagreements++;
    if (!atomic_compare_exchange_strong(&winner[k], &none, got.backend + 1) && none != got.backend + 1)
      disagreements++;
    pt_sessions_release(t, IDENTITY(k), T0);
    pt_session_key mine = key(1000 + me);
    pt_sessions_claim(t, PT_SESSION_LSID, mine, T0, me, 0, &got);
    pt_sessions_txn(t, mine, T0, i, i % 2);
    int64_t id = pt_sessions_cursor_open(t, T0, me, i, mine);
    if (!pt_sessions_find(t, CURSOR(id), T0, &got) || got.value != (int64_t)i || got.backend != me)
      disagreements++;
    pt_sessions_claim(t, PT_SESSION_LSID, key(k), T0, me, 0, &got);
    pt_sessions_move(t, PT_SESSION_LSID, key(k), T0, got.backend, me, false, &got);
    pt_sessions_cursor_close(t, id, T0);
    if (i % 64 == 0) {
      pt_sessions_sweep(t, T0);
      pt_sessions_forget_backend(t, THREADS);
      pt_sessions_stat(t);
    }
  }
  return NULL;
}

static void threads_agree(void **state) {
  (void)state;
  pthread_t thread[THREADS];
  for (uintptr_t i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&thread[i], NULL, worker, (void *)i), 0);
  for (unsigned i = 0; i < THREADS; i++)
    pthread_join(thread[i], NULL);
  assert_int_equal(disagreements, 0);
  for (uint64_t k = 0; k < SHARED_KEYS; k++)
    assert_true(!pt_sessions_find(t, IDENTITY(k), T0, &s) || s.uses == 0);
  assert_int_equal(entries(PT_SESSION_CURSOR), 0);
  for (unsigned b = 0; b < THREADS; b++) { /* the last round left a transaction open */
    assert_true(pt_sessions_find(t, LSID(1000 + b), T0, &s));
    assert_int_equal(s.uses, 0);
    assert_int_equal(pt_sessions_pinned(t, b), 1);
  }
}

/* More entries than there is room for, from all sides: only the bounds must hold. */
static void *flood(void *arg) {
  unsigned me = (unsigned)(uintptr_t)arg;
  pt_session got;
  for (uint64_t i = 0; i < ROUNDS; i++) {
    pt_session_key k = key(me * (uint64_t)ROUNDS + i);
    pt_sessions_claim(t, PT_SESSION_LSID, k, T0 + i, me, 0, &got);
    pt_sessions_txn(t, k, T0 + i, 1, i % 3 == 0);
    int64_t id = pt_sessions_cursor_open(t, T0 + i, me, 0, k);
    if (i % 2)
      pt_sessions_cursor_close(t, id, T0 + i);
    pt_sessions_sweep(t, T0 + i);
  }
  return NULL;
}

static void a_flood_stays_within_bounds(void **state) {
  (void)state;
  pthread_t thread[THREADS];
  pt_sessions_configure(t, 500, TIMEOUT);
  for (uintptr_t i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&thread[i], NULL, flood, (void *)i), 0);
  for (unsigned i = 0; i < THREADS; i++)
    pthread_join(thread[i], NULL);
  assert_true(entries(PT_SESSION_CURSOR) + entries(PT_SESSION_LSID) <= 500 + THREADS);
  for (unsigned b = 0; b < THREADS; b++)
    pt_sessions_forget_backend(t, b);
  for (unsigned b = 0; b < THREADS; b++)
    assert_int_equal(pt_sessions_pinned(t, b), 0);
  assert_int_equal(entries(PT_SESSION_CURSOR), 0);
  sweep_all(T0 + ROUNDS + TIMEOUT);
  assert_int_equal(entries(PT_SESSION_LSID), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(the_first_claim_wins),
      TEST(kinds_and_both_halves_of_a_key_differ),
      TEST(backends_that_do_not_exist),
      TEST(the_timeout_slides),
      TEST(what_is_used_stays),
      TEST(abandoned_cursors_and_transactions_end),
      TEST(many_expire_in_one_sweep),
      TEST(moves_once),
      TEST(a_transaction_holds_its_session),
      TEST(cursors),
      TEST(dropping_a_session_with_cursors),
      TEST(a_backend_forgets),
      TEST(the_unused_give_way_first),
      TEST(when_all_are_in_use_the_oldest_give_way),
      TEST(the_least_recently_used_go),
      TEST(a_smaller_maximum_is_reached),
      TEST(threads_agree),
      TEST(a_flood_stays_within_bounds),
  };
  return cmocka_run_group_tests_name("sessions", tests, NULL, NULL);
}
