/* Hashes against the vectors of their standards; base64 in its one form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "base/hash.h"

static void assert_hex(const uint8_t *bytes, size_t n, const char *hex) {
  char text[2 * 64 + 1] = "";
  for (size_t i = 0; i < n; i++)
    snprintf(text + 2 * i, 3, "%02x", bytes[i]);
  assert_string_equal(text, hex);
}

/* FIPS 180-4's examples, whole and in pieces. */
static void digests(void **state) {
  (void)state;
  static const char abc[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
  static const char sha256[] = "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1";
  uint8_t out[PT_SHA256];
  for (size_t cut = 0; cut < sizeof abc; cut++) {
    const pt_piece pieces[] = {{abc, cut}, {abc + cut, sizeof abc - 1 - cut}};
    assert_int_equal(pt_sha256(pieces, 2, out), 0);
    assert_hex(out, sizeof out, sha256);
  }
  assert_int_equal(pt_sha256(NULL, 0, out), 0);
  assert_hex(out, sizeof out, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  assert_int_equal(pt_hash(PT_SHA256, abc, sizeof abc - 1, out), 0);
  assert_hex(out, PT_SHA256, sha256);
  assert_int_equal(pt_hash(PT_SHA1, "abc", 3, out), 0);
  assert_hex(out, PT_SHA1, "a9993e364706816aba3e25717850c26c9cd0d89d");
  char md5[33];
  assert_int_equal(pt_md5_hex("abc", 3, md5), 0);
  assert_string_equal(md5, "900150983cd24fb0d6963f7d28e17f72");
  assert_int_equal(pt_md5_hex("", 0, md5), 0);
  assert_string_equal(md5, "d41d8cd98f00b204e9800998ecf8427e");
}

/* RFC 2202, RFC 4231, RFC 6070, RFC 7914. */
static void keyed(void **state) {
  (void)state;
  uint8_t out[PT_SHA256], key[131];
  assert_int_equal(pt_hmac(PT_SHA1, "Jefe", 4, "what do ya want for nothing?", 28, out), 0);
  assert_hex(out, PT_SHA1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
  assert_int_equal(pt_hmac(PT_SHA256, "Jefe", 4, "what do ya want for nothing?", 28, out), 0);
  assert_hex(out, PT_SHA256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  memset(key, 0xaa, sizeof key);
  static const char large[] = "Test Using Larger Than Block-Size Key - Hash Key First";
  assert_int_equal(pt_hmac(PT_SHA256, key, sizeof key, large, sizeof large - 1, out), 0);
  assert_hex(out, PT_SHA256, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
  assert_int_equal(pt_hmac(PT_SHA256, NULL, 0, "", 0, out), 0);
  assert_hex(out, PT_SHA256, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");

  assert_int_equal(pt_pbkdf2(PT_SHA1, "password", 8, (const uint8_t *)"salt", 4, 4096, out), 0);
  assert_hex(out, PT_SHA1, "4b007901b765489abead49d926f721d065a429c1");
  assert_int_equal(pt_pbkdf2(PT_SHA256, "passwd", 6, (const uint8_t *)"salt", 4, 1, out), 0);
  assert_hex(out, PT_SHA256, "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc");
}

static void secrets(void **state) {
  (void)state;
  uint8_t a[32] = {0}, b[32] = {0};
  assert_int_equal(pt_equal_secret(a, b, sizeof a), 1);
  b[31] = 1;
  assert_int_equal(pt_equal_secret(a, b, sizeof a), 0);
  assert_int_equal(pt_equal_secret(a, b, 31), 1);
  assert_int_equal(pt_random(a, sizeof a), 0);
  assert_int_equal(pt_random(b, sizeof b), 0);
  assert_memory_not_equal(a, b, sizeof a);
}

/* RFC 4648's vectors both ways, then every length. */
static void base64(void **state) {
  (void)state;
  static const char *const vectors[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"},
                                           {"\xfb\xff\xfe", "+//+"}};
  char text[400];
  uint8_t bytes[256], back[256];
  for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
    size_t plain = strlen(vectors[i][0]), coded = strlen(vectors[i][1]);
    assert_int_equal(pt_base64(vectors[i][0], plain, text, coded + 1), coded);
    assert_string_equal(text, vectors[i][1]);
    assert_int_equal(pt_base64(vectors[i][0], plain, text, coded), -ENOSPC);
    assert_int_equal(pt_base64_decode(vectors[i][1], coded, back, plain), plain);
    assert_memory_equal(back, vectors[i][0], plain);
    if (plain)
      assert_int_equal(pt_base64_decode(vectors[i][1], coded, back, plain - 1), -ENOSPC);
  }
  for (size_t n = 0; n <= sizeof bytes; n++) {
    assert_int_equal(pt_random(bytes, sizeof bytes), 0);
    int len = pt_base64(bytes, n, text, sizeof text);
    assert_int_equal(len, strlen(text));
    uint8_t *exact = malloc(n ? n : 1); /* so that the sanitizer sees a byte too many */
    assert_int_equal(pt_base64_decode(text, (size_t)len, exact, n), n);
    assert_memory_equal(exact, bytes, n);
    free(exact);
  }
}

static void base64_refuses(void **state) {
  (void)state;
  static const char *const bad[] = {"Z",    "Zg",    "Zg=",  "Zh==",         "Zm9=", "Zg==Zg==", "=",       "====",   "Z===",
                                    "Zm9 ", "Zm\n9", "Zm-_", "Zm9v\n\n\n\n", "Z=g=", "Zm9v=",    "\xffZm9", "Zm9vZ=="};
  uint8_t out[64];
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    char *exact = strdup(bad[i]);
    assert_int_equal(pt_base64_decode(exact, strlen(exact), out, sizeof out), -EINVAL);
    free(exact);
  }
  assert_int_equal(pt_base64_decode("Zm9\0", 4, out, sizeof out), -EINVAL);
}

static void mixing(void **state) {
  (void)state;
  for (unsigned bit = 0; bit < 64; bit++) { /* a changed bit changes about half of the bits */
    unsigned changed = 0;
    for (uint64_t x = 1; x <= 1000; x++)
      changed +=
          (unsigned)__builtin_popcountll(pt_mix64(x * 0x9e3779b97f4a7c15u) ^ pt_mix64(x * 0x9e3779b97f4a7c15u ^ 1ull << bit));
    assert_in_range(changed, 30000, 34000);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(digests), cmocka_unit_test(keyed),          cmocka_unit_test(secrets),
      cmocka_unit_test(base64),  cmocka_unit_test(base64_refuses), cmocka_unit_test(mixing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
