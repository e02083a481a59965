/* SCRAM: the client. */
#include "wire/scram.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "wire/scram_parts.h"

enum {
  STEP_FIRST = 1, /* the first message is out */
  STEP_FINAL,
  USER_ROOM = PT_SCRAM_PART - 64 /* of an escaped user name */
};

static pt_scram_text text_of(const char *s) { return (pt_scram_text){s, s + strlen(s)}; }

int pt_scram_client_first(pt_scram_client *c, int algorithm, const char *user, char *out, size_t cap) {
  uint8_t random[PT_SCRAM_NONCE_BYTES];
  char name[USER_ROOM];
  *c = (pt_scram_client){.algorithm = algorithm};
  if (pt_scram_escape(user, name, sizeof name))
    return -EINVAL;
  if (pt_random(random, sizeof random))
    return -EIO;
  pt_base64(random, sizeof random, c->nonce, sizeof c->nonce);
  snprintf(c->first_bare, sizeof c->first_bare, "n=%s,r=%s", name, c->nonce);
  if ((size_t)snprintf(out, cap, "n,,%s", c->first_bare) >= cap)
    return -EINVAL;
  c->step = STEP_FIRST;
  return 0;
}

/* What the server's first message says. */
typedef struct offer {
  pt_scram_text nonce;
  uint8_t salt[64];
  int salt_n;
  unsigned iterations;
} offer;

static int read_offer(offer *o, const pt_scram_client *c, pt_scram_text t) {
  pt_scram_text salt, iterations;
  if (pt_scram_take(&t, 'r', &o->nonce) || pt_scram_take(&t, 's', &salt) || pt_scram_take(&t, 'i', &iterations))
    return -EPROTO;
  size_t ours = strlen(c->nonce);
  if (!pt_scram_nonce_good(o->nonce) || pt_scram_length(o->nonce) <= ours || memcmp(o->nonce.p, c->nonce, ours))
    return -EPROTO;
  o->salt_n = pt_base64_decode(salt.p, pt_scram_length(salt), o->salt, sizeof o->salt);
  o->iterations = pt_scram_iterations(iterations);
  return o->salt_n > 0 && o->iterations ? 0 : -EPROTO;
}

typedef struct keys {
  uint8_t name[PT_SHA256]; /* the hash of what they are made of */
  uint8_t client_key[PT_SHA256], stored_key[PT_SHA256], server_key[PT_SHA256];
} keys;

/* Keys cost milliseconds, and pools and probes log in with the same few again and again: a thread keeps the latest. */
static __thread struct {
  keys slots[8];
  unsigned next;
} kept;

static int keys_make(keys *k, int algorithm, const char *user, const char *password, const offer *o) {
  uint8_t salted[PT_SHA256];
  int e = pt_scram_salted(algorithm, user, password, o->salt, (size_t)o->salt_n, o->iterations, salted);
  if (!e)
    e = pt_scram_keys(algorithm, salted, k->client_key, k->stored_key, k->server_key);
  explicit_bzero(salted, sizeof salted);
  return e;
}

/* Kept keys or new ones, valid until the next call in this thread. 0, -ENOMEM, -EINVAL: no valid password. */
static int keys_find(const keys **out, int algorithm, const char *user, const char *password, const offer *o) {
  const unsigned head[] = {(unsigned)algorithm, o->iterations, (unsigned)o->salt_n};
  /* NULs are kept: they part what comes behind each other */
  const pt_piece pieces[] = {
      {head, sizeof head}, {o->salt, (size_t)o->salt_n}, {user, strlen(user) + 1}, {password, strlen(password) + 1}};
  keys made;
  int e = pt_sha256(pieces, sizeof pieces / sizeof *pieces, made.name);
  for (unsigned i = 0; !e && i < sizeof kept.slots / sizeof *kept.slots; i++)
    if (!memcmp(kept.slots[i].name, made.name, sizeof made.name)) {
      *out = &kept.slots[i];
      return 0;
    }
  if (!e)
    e = keys_make(&made, algorithm, user, password, o);
  if (!e) {
    keys *slot = &kept.slots[kept.next++ % (sizeof kept.slots / sizeof *kept.slots)];
    *slot = made;
    *out = slot;
  }
  explicit_bzero(&made, sizeof made);
  return e;
}

int pt_scram_client_final(pt_scram_client *c, const char *user, const char *password, const char *server_first, size_t n,
                          char *out, size_t cap) {
  offer o;
  if (c->step != STEP_FIRST || n > PT_SCRAM_PART || read_offer(&o, c, (pt_scram_text){server_first, server_first + n}))
    return -EPROTO;
  int len = snprintf(out, cap, "c=biws,r=%.*s", (int)pt_scram_length(o.nonce), o.nonce.p);
  if (len < 0 || (size_t)len >= cap)
    return -EPROTO;

  const pt_scram_text messages[3] = {text_of(c->first_bare), {server_first, server_first + n}, {out, out + len}};
  const keys *k = NULL;
  uint8_t proof[PT_SHA256];
  char proof64[48];
  int e = keys_find(&k, c->algorithm, user, password, &o);
  if (!e)
    e = pt_scram_sign(c->algorithm, k->stored_key, k->server_key, messages, proof, c->server_signature);
  if (e)
    return e;
  for (int i = 0; i < c->algorithm; i++)
    proof[i] ^= k->client_key[i];
  pt_base64(proof, (size_t)c->algorithm, proof64, sizeof proof64);
  if ((size_t)snprintf(out + len, cap - (size_t)len, ",p=%s", proof64) >= cap - (size_t)len)
    return -EPROTO;
  c->step = STEP_FINAL;
  return 0;
}

int pt_scram_client_verify(pt_scram_client *c, const char *server_final, size_t n) {
  pt_scram_text t = {server_final, server_final + n}, v;
  uint8_t signature[PT_SHA256];
  int step = c->step;
  c->step = 0;
  if (step != STEP_FINAL || pt_scram_take(&t, 'v', &v))
    return -EACCES;
  if (pt_base64_decode(v.p, pt_scram_length(v), signature, sizeof signature) != c->algorithm)
    return -EACCES;
  return pt_equal_secret(signature, c->server_signature, (size_t)c->algorithm) ? 0 : -EACCES;
}
