#include "base/hash.h"

#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

static const EVP_MD *digest_of(int algorithm) { return algorithm == PT_SHA256 ? EVP_sha256() : EVP_sha1(); }

int pt_sha256(const pt_piece *pieces, unsigned n, uint8_t out[PT_SHA256]) {
  EVP_MD_CTX *c = EVP_MD_CTX_new();
  int ok = c && EVP_DigestInit_ex(c, EVP_sha256(), NULL);
  for (unsigned i = 0; ok && i < n; i++)
    ok = EVP_DigestUpdate(c, pieces[i].p, pieces[i].n);
  ok = ok && EVP_DigestFinal_ex(c, out, NULL);
  EVP_MD_CTX_free(c);
  return ok ? 0 : -ENOMEM;
}

int pt_hash(int algorithm, const void *bytes, size_t n, uint8_t *out) {
  return EVP_Digest(bytes, n, out, NULL, digest_of(algorithm), NULL) ? 0 : -ENOMEM;
}

int pt_hmac(int algorithm, const void *key, size_t key_n, const void *bytes, size_t n, uint8_t *out) {
  if (key_n > INT_MAX)
    return -ENOMEM;
  return HMAC(digest_of(algorithm), key_n ? key : "", (int)key_n, bytes, n, out, NULL) ? 0 : -ENOMEM;
}

int pt_pbkdf2(int algorithm, const void *password, size_t n, const uint8_t *salt, size_t salt_n, unsigned iterations,
              uint8_t *out) {
  if (n > INT_MAX || salt_n > INT_MAX || iterations > INT_MAX)
    return -ENOMEM;
  int ok = PKCS5_PBKDF2_HMAC(n ? password : "", (int)n, salt, (int)salt_n, (int)iterations, digest_of(algorithm), algorithm, out);
  return ok ? 0 : -ENOMEM;
}

int pt_md5_hex(const void *bytes, size_t n, char out[33]) {
  static const char digits[] = "0123456789abcdef";
  uint8_t md[16];
  if (!EVP_Digest(bytes, n, md, NULL, EVP_md5(), NULL))
    return -ENOMEM;
  for (unsigned i = 0; i < sizeof md; i++) {
    out[2 * i] = digits[md[i] >> 4];
    out[2 * i + 1] = digits[md[i] & 15];
  }
  out[32] = 0;
  return 0;
}

int pt_random(void *out, size_t n) { return n <= INT_MAX && RAND_bytes(out, (int)n) == 1 ? 0 : -EIO; }

int pt_equal_secret(const void *a, const void *b, size_t n) { return CRYPTO_memcmp(a, b, n) == 0; }

int pt_base64(const void *bytes, size_t n, char *out, size_t cap) {
  if (n > INT_MAX / 2 || cap < (n + 2) / 3 * 4 + 1)
    return -ENOSPC;
  return EVP_EncodeBlock((unsigned char *)out, bytes, (int)n);
}

static int base64_value(char c) {
  if (c >= 'A' && c <= 'Z')
    return c - 'A';
  if (c >= 'a' && c <= 'z')
    return c - 'a' + 26;
  if (c >= '0' && c <= '9')
    return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* OpenSSL's decoder accepts spaces and padding anywhere; here a value has one encoding, the canonical one. */
int pt_base64_decode(const char *text, size_t n, uint8_t *out, size_t cap) {
  if (n % 4 || n > INT_MAX)
    return -EINVAL;
  size_t pad = n && text[n - 1] == '=' ? 1u + (text[n - 2] == '=') : 0, len = n / 4 * 3 - pad, at = 0;
  if (len > cap)
    return -ENOSPC;
  uint32_t bits = 0;
  for (size_t i = 0; i < n; i++) {
    int v = i < n - pad ? base64_value(text[i]) : 0;
    if (v < 0)
      return -EINVAL;
    bits = bits << 6 | (uint32_t)v;
    if (i % 4 != 3)
      continue;
    for (int shift = 16; shift >= 0 && at < len; shift -= 8)
      out[at++] = (uint8_t)(bits >> shift);
    if (i == n - 1 && bits & ((1u << 8 * pad) - 1))
      return -EINVAL;
    bits = 0;
  }
  return (int)len;
}
