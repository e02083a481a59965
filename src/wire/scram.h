/* SCRAM, both ends (RFC 5802, RFC 7677; specifications/source/auth/auth.md). Strings in and out; whoever calls moves them in saslStart and saslContinue. */
#ifndef PT_WIRE_SCRAM_H
#define PT_WIRE_SCRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"

enum {
  PT_SCRAM_TEXT = 1024, /* holds every message made here, NUL included */
  PT_SCRAM_MIN_ITERATIONS = 4096,
  PT_SCRAM_MAX_ITERATIONS = 1000000 /* what a hostile server may cost us */
};

/* What a server keeps of a user. algorithm: PT_SHA1 or PT_SHA256. */
typedef struct pt_scram_verifier {
  int algorithm;
  unsigned iterations;
  uint8_t salt[32];
  unsigned salt_n;
  uint8_t stored_key[PT_SHA256], server_key[PT_SHA256];
} pt_scram_verifier;

/* "SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>", base64: the form that PostgreSQL keeps, also with SCRAM-SHA-1. 0 or -EINVAL. */
int pt_scram_verifier_parse(pt_scram_verifier *v, const char *text);
/* Makes one of a password (for SCRAM-SHA-1 of its MD5 digest with the user), with a random salt. iterations 0: as many as MongoDB takes.
 * 0, -ENOMEM, -EIO, -EINVAL: no valid password or number. */
int pt_scram_verifier_make(pt_scram_verifier *v, int algorithm, const char *user, const char *password, unsigned iterations);
/* Its text, as parse reads it. 0 or -ENOSPC; 256 bytes are enough. */
int pt_scram_verifier_write(const pt_scram_verifier *v, char *out, size_t cap);

/* ---- the client ---- */
typedef struct pt_scram_client {
  int algorithm, step;
  char nonce[48];
  char first_bare[512];
  uint8_t server_signature[PT_SHA256];
} pt_scram_client;

/* The first message, for saslStart. 0, -EIO, -EINVAL (a user that is too long). */
int pt_scram_client_first(pt_scram_client *c, int algorithm, const char *user, char *out, size_t cap);
/* The answer to the server's first message. 0, -EPROTO: not a good one (a short nonce, too few or too many iterations), -ENOMEM,
 * -EINVAL: no valid password. Computes for milliseconds, as many iterations as the server asks for, unless this thread has lately logged in
 * with the same password, salt and iterations. */
int pt_scram_client_final(pt_scram_client *c, const char *user, const char *password, const char *server_first, size_t n,
                          char *out, size_t cap);
/* 0: the server's last message proves that it knows the user, -EACCES: it does not, or it told an error. */
int pt_scram_client_verify(pt_scram_client *c, const char *server_final, size_t n);

/* ---- the server ---- */
typedef struct pt_scram_server {
  int step;
  pt_scram_verifier v;
  bool unknown; /* no such user: goes on with a made-up verifier and fails at the end, so that nobody can ask who exists */
  char gs2; /* 'n' or 'y': how the client's first message began */
  char user[256];
  char nonce[128]; /* the client's and ours */
  char first_bare[512], server_first[512];
} pt_scram_server;

/* The user name in a client's first message. 0 or -EPROTO (channel binding asked for, no name, too long). */
int pt_scram_server_user(const char *client_first, size_t n, char *user, size_t cap);
/* Starts with the client's first message. v: of the user; NULL (or of the other algorithm): there is none, and the answer is made up, always
 * the same for a name and as if it were of a user like `like` (any other user's verifier, NULL: as pt_scram_verifier_make makes them).
 * out: the server's first message. 0, -EPROTO, -EIO. */
int pt_scram_server_first(pt_scram_server *s, int algorithm, const pt_scram_verifier *v, const pt_scram_verifier *like,
                          const char *client_first, size_t n, char *out, size_t cap);
/* The client's final message. 0: it is that user, out: the server's final message; -EACCES: it is not; -EPROTO. */
int pt_scram_server_final(pt_scram_server *s, const char *client_final, size_t n, char *out, size_t cap);

#endif
