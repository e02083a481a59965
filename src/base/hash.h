/* Hashes and the encodings around them, over OpenSSL. Any thread; no state. */
#ifndef PT_BASE_HASH_H
#define PT_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

enum {
  PT_SHA1 = 20, /* bytes of a digest; also the name of the algorithm below */
  PT_SHA256 = 32
};

/* One piece of what is hashed. */
typedef struct pt_piece {
  const void *p;
  size_t n;
} pt_piece;

/* SHA-256 over the pieces in order (FIPS 180-4). 0 or -ENOMEM. */
int pt_sha256(const pt_piece *pieces, unsigned n, uint8_t out[PT_SHA256]);
/* The hash of bytes by algorithm (PT_SHA1 or PT_SHA256); out holds that many bytes. 0 or -ENOMEM. */
int pt_hash(int algorithm, const void *bytes, size_t n, uint8_t *out);
/* HMAC (RFC 2104). 0 or -ENOMEM. */
int pt_hmac(int algorithm, const void *key, size_t key_n, const void *bytes, size_t n, uint8_t *out);
/* PBKDF2 with HMAC, one block: Hi() of RFC 5802. 0 or -ENOMEM. */
int pt_pbkdf2(int algorithm, const void *password, size_t n, const uint8_t *salt, size_t salt_n, unsigned iterations,
              uint8_t *out);
/* MD5 as 32 hex digits and NUL, for the password digest of SCRAM-SHA-1. 0 or -ENOMEM. */
int pt_md5_hex(const void *bytes, size_t n, char out[33]);
/* Cryptographically random bytes. 0 or -EIO. */
int pt_random(void *out, size_t n);
/* 1 when equal, in time that does not depend on where they differ. */
int pt_equal_secret(const void *a, const void *b, size_t n);
/* Standard base64 with padding, NUL-terminated. Bytes written without the NUL, or -ENOSPC. */
int pt_base64(const void *bytes, size_t n, char *out, size_t cap);
/* The reverse, strict. Bytes written, -EINVAL or -ENOSPC. */
int pt_base64_decode(const char *text, size_t n, uint8_t *out, size_t cap);

/* A fast, well mixed 64-bit hash for tables and rendezvous; seed: a secret of the process for tables that hostile keys enter. Not cryptographic. */
static inline uint64_t pt_mix64(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9u;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

#endif
