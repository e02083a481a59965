/* The structure of documents: everything that is BSON passes, nothing leads out of bounds. */
#include "mongo_cases.h"

static pt_text t;

static int check(const uint8_t *p, size_t n) {
  const char *why = NULL;
  uint8_t *copy = copy_of(p, n);
  int e = pt_bson_check(copy, n, &why);
  free(copy);
  assert_true(e == 0 || (e == -EPROTO && why));
  return e;
}

static void every_type_there_is(void **state) {
  (void)state;
  bson_t *d = every_type();
  assert_int_equal(check(bson_get_data(d), d->len), 0);
  t.n = 0;
  put(&t, bson_get_data(d), d->len);
  for (uint32_t n = 0; n < d->len; n++) {
    assert_int_equal(check(t.p, n), -EPROTO);
    if (n < 5)
      continue;
    uint8_t *cut = copy_of(t.p, n);
    memcpy(cut, &n, 4);
    assert_int_equal(check(cut, n), -EPROTO);
    free(cut);
  }
  bson_destroy(d);
}

/* Where what follows a key lies. */
static uint32_t behind(const bson_t *d, const char *key) {
  const uint8_t *p = bson_get_data(d), *at = memmem(p, d->len, key, strlen(key) + 1);
  assert_non_null(at);
  return (uint32_t)(at - p) + (uint32_t)strlen(key) + 1;
}

/* Every byte changed to every value: never out of bounds, and what passes is what libbson takes, but for what it thinks of texts, of the values of
 * booleans and of old binaries. */
static void every_byte_changed(void **state) {
  (void)state;
  bson_t *d = every_type();
  uint32_t boolean = behind(d, "bool"), subtype = behind(d, "binary") + 4, passed = 0;
  for (uint32_t at = 0; at < d->len; at++)
    for (int v = 0; v < 256; v++) {
      bson_t view;
      const char *why;
      uint8_t *copy = copy_of(bson_get_data(d), d->len);
      copy[at] = (uint8_t)v;
      int e = pt_bson_check(copy, d->len, &why);
      passed += !e;
      if (!e && v < 128 && at != boolean && at != subtype)
        assert_true(bson_init_static(&view, copy, d->len) && bson_validate(&view, BSON_VALIDATE_NONE, NULL));
      free(copy);
    }
  assert_true(passed > 64 * d->len && passed < 224 * d->len);
  bson_destroy(d);
}

static void unknown_types(void **state) {
  (void)state;
  int good = 0;
  for (int type = 1; type < 256; type++) {
    uint8_t p[] = {8, 0, 0, 0, (uint8_t)type, 'a', 0, 0};
    good += check(p, sizeof p) == 0;
  }
  assert_int_equal(good, 4); /* those without a value: undefined, null, minkey, maxkey */
}

static void depth(void **state) {
  (void)state;
  for (int type = 3; type <= 4; type++) {
    t.n = 0;
    put_nested(&t, PT_MONGO_MAX_DEPTH, (uint8_t)type);
    assert_int_equal(check(t.p, t.n), 0);
    t.n = 0;
    put_nested(&t, PT_MONGO_MAX_DEPTH + 1, (uint8_t)type);
    assert_int_equal(check(t.p, t.n), -EPROTO);
    t.n = 0;
    put_nested(&t, 30000, (uint8_t)type);
    assert_int_equal(check(t.p, t.n), -EPROTO);
  }
}

static void lengths_of_values(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    size_t n;
    int e;
  } list[] = {
#define D(bytes, e) {bytes, sizeof(bytes) - 1, e}
      D("\5\0\0\0\0", 0),
      D("\5\0\0\0\1", -EPROTO), /* no end */
      D("\4\0\0\0\0", -EPROTO),
      D("\6\0\0\0\0\0", -EPROTO), /* ends early */
      D("\15\0\0\0\2a\0\1\0\0\0\0\0", 0), /* "" */
      D("\15\0\0\0\2a\0\0\0\0\0\0\0", -EPROTO), /* a string without its NUL */
      D("\17\0\0\0\2a\0\0\0\0\0\12b\0\0", -EPROTO), /* of which its length makes one */
      D("\15\0\0\0\2a\0\2\0\0\0a\0", -EPROTO), /* its NUL is the document's */
      D("\15\0\0\0\2a\0\377\377\377\377\0\0", -EPROTO),
      D("\15\0\0\0\5a\0\0\0\0\0\0\0", 0), /* no bytes */
      D("\15\0\0\0\5a\0\377\377\377\377\0\0", -EPROTO),
      D("\14\0\0\0\3a\0\5\0\0\0\0", -EPROTO), /* its end is the outer one's */
      D("\15\0\0\0\3a\0\5\0\0\0\0\0", 0),
      D("\15\0\0\0\3a\0\4\0\0\0\0\0", -EPROTO),
      D("\15\0\0\0\3a\0\6\0\0\0\0\0", -EPROTO),
      D("\12\0\0\0\13a\0\0\0\0", 0), /* two empty strings */
      D("\11\0\0\0\13a\0\0\0", -EPROTO),
      D("\7\0\0\0\12\0\0", 0), /* a key without a character */
      D("\7\0\0\0\12a\0", -EPROTO), /* the key's NUL is the document's */
#undef D
  };
  for (size_t i = 0; i < sizeof list / sizeof *list; i++)
    if (check((const uint8_t *)list[i].bytes, list[i].n) != list[i].e)
      fail_msg("case %zu", i);
}

/* Keys of all lengths around the words they are looked at in. */
static void keys(void **state) {
  (void)state;
  char key[40] = "";
  for (size_t n = 0; n < sizeof key - 1; n++) {
    bson_t d = BSON_INITIALIZER;
    bson_append_null(&d, key, (int)n);
    bson_append_int32(&d, key, (int)n, 1);
    assert_int_equal(check(bson_get_data(&d), d.len), 0);
    bson_destroy(&d);
    key[n] = (char)(n % 2 ? 0x80 : 0x01); /* the words' trickiest neighbours */
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_type_there_is), cmocka_unit_test(every_byte_changed),
      cmocka_unit_test(unknown_types),       cmocka_unit_test(depth),
      cmocka_unit_test(lengths_of_values),   cmocka_unit_test(keys),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
