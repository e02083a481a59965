/* Chunks and segment queues: bytes come out as they went in, and every reference is given back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/chunk.h"

/* The linker sends the code under test here (-Wl,--wrap=malloc). */
static int no_memory;
void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_malloc(size_t n) { return no_memory ? NULL : __real_malloc(n); }

/* Random appends (copied and by reference) and drops against a plain array. */
static void random_against_model(void **state) {
  (void)state;
  pt_pool pool;
  pt_pool_init(&pool);
  pt_segq q = {0};
  static uint8_t model[1 << 20];
  size_t head = 0, tail = 0;
  unsigned seed = 7;
  pt_chunk *shared = pt_chunk_new(&pool, PT_CHUNK_LARGE);
  for (size_t i = 0; i < shared->cap; i++)
    shared->data[i] = (uint8_t)(i * 31);
  while (tail < sizeof model - 4096) {
    unsigned what = rand_r(&seed) % 3, n = rand_r(&seed) % 3000;
    if (what == 0) {
      uint8_t bytes[3000];
      for (unsigned i = 0; i < n; i++)
        bytes[i] = (uint8_t)rand_r(&seed);
      assert_int_equal(pt_segq_copy(&q, &pool, bytes, n, PT_CHUNK_SMALL), 0);
      memcpy(model + tail, bytes, n);
      tail += n;
    } else if (what == 1 && n) {
      uint32_t off = rand_r(&seed) % (shared->cap - n);
      assert_int_equal(pt_segq_ref(&q, shared, off, n), 0);
      memcpy(model + tail, shared->data + off, n);
      tail += n;
    } else {
      n = n > tail - head ? (unsigned)(tail - head) : n;
      uint8_t got[3000];
      assert_int_equal(pt_segq_peek(&q, got, n), n);
      assert_memory_equal(got, model + head, n);
      pt_segq_drop(&q, n);
      head += n;
    }
    assert_int_equal(q.bytes, tail - head);
  }
  pt_segq_clear(&q);
  assert_int_equal(shared->refs, 1);
  pt_chunk_unref(shared);
  pt_pool_free(&pool);
}

/* What is shared stays readable after the first queue has dropped it. */
static void shared_bytes_outlive_their_queue(void **state) {
  (void)state;
  pt_pool pool;
  pt_pool_init(&pool);
  pt_segq a = {0}, b = {0};
  assert_int_equal(pt_segq_copy(&a, &pool, "hello world", 11, PT_CHUNK_LARGE), 0);
  assert_int_equal(pt_segq_share(&b, &a, 5), 0);
  pt_segq_drop(&a, 11);
  assert_int_equal(pt_segq_copy(&a, &pool, "XXXXXXXXXXX", 11, PT_CHUNK_LARGE), 0);
  char got[6] = {0};
  assert_int_equal(pt_segq_peek(&b, got, 5), 5);
  assert_string_equal(got, "hello");
  pt_segq_clear(&a);
  pt_segq_clear(&b);
  pt_pool_free(&pool);
}

/* iov describes exactly the bytes behind skip. */
static void iov_skips_what_was_sent(void **state) {
  (void)state;
  pt_pool pool;
  pt_pool_init(&pool);
  pt_segq q = {0};
  pt_chunk *c = pt_chunk_new(&pool, 100);
  memcpy(c->data, "abcdefghij", 10);
  pt_segq_ref(&q, c, 0, 4);
  pt_segq_ref(&q, c, 6, 4);
  pt_chunk_unref(c);
  struct iovec iov[4];
  size_t total;
  assert_int_equal(pt_segq_iov(&q, 2, iov, 4, &total), 2);
  assert_int_equal(total, 6);
  assert_memory_equal(iov[0].iov_base, "cd", 2);
  assert_memory_equal(iov[1].iov_base, "ghij", 4);
  assert_int_equal(pt_segq_iov(&q, 8, iov, 4, &total), 0);
  pt_segq_clear(&q);
  pt_pool_free(&pool);
}

/* What a queue holds on to is the memory of its chunks, shared by those who refer to them; not its bytes. */
static void held_memory(void **state) {
  (void)state;
  pt_pool p;
  pt_segq a = {0}, b = {0};
  pt_pool_init(&p);
  pt_chunk *c = pt_chunk_new(&p, PT_CHUNK_LARGE);
  assert_int_equal(pt_segq_held(&a) + pt_chunk_held(NULL), 0);
  assert_int_equal(pt_segq_ref(&a, c, 0, 10), 0);
  pt_chunk_unref(c);
  assert_int_equal(pt_segq_held(&a), sizeof *c + PT_CHUNK_LARGE);
  assert_int_equal(pt_segq_ref(&b, c, 10, 10), 0);
  assert_int_equal(pt_segq_held(&a), (sizeof *c + PT_CHUNK_LARGE) / 2);
  pt_segq_clear(&b);
  pt_segq_clear(&a);
  pt_pool_free(&p);
  assert_int_equal(p.bytes, 0);
}

static void a_lean_pool_keeps_nothing(void **state) {
  (void)state;
  pt_pool p;
  pt_pool_init(&p);
  pt_chunk_unref(pt_chunk_new(&p, 1));
  assert_true(p.bytes > 0);
  pt_pool_lean(&p, 1);
  assert_int_equal(p.bytes, 0);
  pt_chunk_unref(pt_chunk_new(&p, 1));
  assert_int_equal(p.bytes, 0);
  pt_pool_lean(&p, 0);
  pt_chunk_unref(pt_chunk_new(&p, 1));
  assert_true(p.bytes > 0);
  pt_pool_free(&p);
}

/* Without memory what is of a pooled size comes from the reserve, what is larger does not come at all. */
static void the_reserve(void **state) {
  (void)state;
  pt_pool p;
  pt_chunk *got[64];
  unsigned n = 0;
  pt_pool_init(&p);
  pt_pool_refill(&p);
  size_t bytes = p.bytes;
  unsigned reserve = p.nreserve;
  assert_true(reserve >= 4);
  pt_pool_refill(&p);
  assert_int_equal(p.bytes, bytes);
  p.lean = 1;
  no_memory = 1;
  assert_null(pt_chunk_exact(&p, 100));
  assert_null(pt_chunk_new(&p, PT_CHUNK_LARGE + 1));
  while (n < 64 && (got[n] = pt_chunk_new(&p, n % 2 ? PT_CHUNK_SMALL : PT_CHUNK_LARGE))) {
    assert_int_equal(got[n]->refs, 1);
    assert_int_equal(got[n]->fill, 0);
    memset(got[n]->data, 1, got[n]->cap);
    n++;
  }
  pt_pool_refill(&p);
  no_memory = 0;
  assert_int_equal(n, reserve);
  assert_int_equal(p.nreserve, 0);
  assert_int_equal(p.failed, n + 3);
  while (n)
    pt_chunk_unref(got[--n]);
  assert_int_equal(p.bytes, 0);
  pt_pool_refill(&p);
  assert_int_equal(p.nreserve, reserve);
  pt_pool_free(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(held_memory),
      cmocka_unit_test(a_lean_pool_keeps_nothing),
      cmocka_unit_test(the_reserve),
      cmocka_unit_test(random_against_model),
      cmocka_unit_test(shared_bytes_outlive_their_queue),
      cmocka_unit_test(iov_skips_what_was_sent),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
