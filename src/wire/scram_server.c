/* SCRAM: the server. */
#include "wire/scram.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "wire/scram_parts.h"

enum {
  STEP_FIRST = 1 /* the client's first message has been answered */
};

static pt_scram_text text_of(const char *s) { return (pt_scram_text){s, s + strlen(s)}; }

/* What a client's first message says. */
typedef struct opening {
  char gs2;
  pt_scram_text bare, nonce;
} opening;

static int read_opening(opening *o, const char *p, size_t n, char *user, size_t cap) {
  pt_scram_text name;
  if (n < 3 || (p[0] != 'n' && p[0] != 'y') || p[1] != ',' || p[2] != ',' || memchr(p, 0, n))
    return -EPROTO;
  *o = (opening){.gs2 = p[0], .bare = {p + 3, p + n}};
  pt_scram_text t = o->bare;
  if (pt_scram_take(&t, 'n', &name) || pt_scram_take(&t, 'r', &o->nonce) || !pt_scram_nonce_good(o->nonce))
    return -EPROTO;
  return pt_scram_unescape(name, user, cap);
}

int pt_scram_server_user(const char *client_first, size_t n, char *user, size_t cap) {
  opening o;
  return read_opening(&o, client_first, n, user, cap);
}

static uint8_t secret[PT_SHA256];
static int secret_error;
static pthread_once_t secret_once = PTHREAD_ONCE_INIT;

static void make_secret(void) { secret_error = pt_random(secret, sizeof secret); }

/* The salt of a user who does not exist: nobody who lacks the secret can tell it from a stored one, and it is the same when asked again. Keys
 * are not needed, since nobody gets in with them. */
static int make_up(pt_scram_verifier *v, int algorithm, const pt_scram_verifier *like, const char *user) {
  uint8_t salt[PT_SHA256];
  char text[sizeof((pt_scram_server *)0)->user + 16];
  int n = snprintf(text, sizeof text, "%d:%s", algorithm, user);
  pthread_once(&secret_once, make_secret);
  if (secret_error || pt_hmac(PT_SHA256, secret, sizeof secret, text, (size_t)n, salt))
    return -EIO;
  *v = (pt_scram_verifier){.algorithm = algorithm};
  if (like && like->algorithm == algorithm) {
    v->iterations = like->iterations;
    v->salt_n = like->salt_n;
  }
  pt_scram_defaults(v);
  memcpy(v->salt, salt, sizeof v->salt);
  return 0;
}

int pt_scram_server_first(pt_scram_server *s, int algorithm, const pt_scram_verifier *v, const pt_scram_verifier *like,
                          const char *client_first, size_t n, char *out, size_t cap) {
  opening o;
  uint8_t random[PT_SCRAM_NONCE_BYTES];
  char ours[48], salt[48];
  *s = (pt_scram_server){.unknown = !v || v->algorithm != algorithm};
  int e = read_opening(&o, client_first, n, s->user, sizeof s->user);
  size_t theirs = e ? 0 : pt_scram_length(o.nonce), bare = e ? 0 : pt_scram_length(o.bare);
  if (e || bare >= sizeof s->first_bare || theirs + sizeof ours > sizeof s->nonce)
    return -EPROTO;
  if (pt_random(random, sizeof random) || make_up(&s->v, algorithm, like, s->user)) /* always, so that both take as long */
    return -EIO;
  if (!s->unknown)
    s->v = *v;

  s->gs2 = o.gs2;
  memcpy(s->first_bare, o.bare.p, bare);
  pt_base64(random, sizeof random, ours, sizeof ours);
  pt_base64(s->v.salt, s->v.salt_n, salt, sizeof salt);
  snprintf(s->nonce, sizeof s->nonce, "%.*s%s", (int)theirs, o.nonce.p, ours);
  snprintf(s->server_first, sizeof s->server_first, "r=%s,s=%s,i=%u", s->nonce, salt, s->v.iterations);
  if ((size_t)snprintf(out, cap, "%s", s->server_first) >= cap)
    return -EPROTO;
  s->step = STEP_FIRST;
  return 0;
}

/* What a client's final message says. */
typedef struct closing {
  pt_scram_text bare, nonce; /* bare: without the proof */
  uint8_t proof[PT_SHA256];
} closing;

static int read_closing(closing *c, const pt_scram_server *s, const char *p, size_t n) {
  const char *comma = memrchr(p, ',', n);
  if (!comma)
    return -EPROTO;
  pt_scram_text t = {comma + 1, p + n}, proof, binding;
  if (pt_scram_take(&t, 'p', &proof) ||
      pt_base64_decode(proof.p, pt_scram_length(proof), c->proof, sizeof c->proof) != s->v.algorithm)
    return -EPROTO;
  c->bare = t = (pt_scram_text){p, comma};
  if (pt_scram_take(&t, 'c', &binding) || pt_scram_take(&t, 'r', &c->nonce))
    return -EPROTO;
  const char *expected = s->gs2 == 'n' ? "biws" : "eSws"; /* the GS2 header again, in base64 */
  return pt_scram_length(binding) == 4 && !memcmp(binding.p, expected, 4) ? 0 : -EPROTO;
}

/* 1 when the proof is made with the ClientKey whose hash is the StoredKey. */
static int proves(const pt_scram_server *s, uint8_t *proof, const uint8_t *client_signature) {
  uint8_t stored_key[PT_SHA256];
  for (int i = 0; i < s->v.algorithm; i++)
    proof[i] ^= client_signature[i];
  return !pt_hash(s->v.algorithm, proof, (size_t)s->v.algorithm, stored_key) &&
         pt_equal_secret(stored_key, s->v.stored_key, (size_t)s->v.algorithm);
}

int pt_scram_server_final(pt_scram_server *s, const char *client_final, size_t n, char *out, size_t cap) {
  closing c;
  int step = s->step;
  s->step = 0; /* a nonce is good for one try */
  if (step != STEP_FIRST || read_closing(&c, s, client_final, n))
    return -EPROTO;
  size_t nonce = strlen(s->nonce);
  if (pt_scram_length(c.nonce) != nonce || memcmp(c.nonce.p, s->nonce, nonce))
    return -EACCES;

  const pt_scram_text messages[3] = {text_of(s->first_bare), text_of(s->server_first), c.bare};
  uint8_t client_signature[PT_SHA256], server_signature[PT_SHA256];
  char text[48];
  int e = pt_scram_sign(s->v.algorithm, s->v.stored_key, s->v.server_key, messages, client_signature, server_signature);
  if (e)
    return e == -EPROTO ? e : -EACCES;
  int good = proves(s, c.proof, client_signature) & !s->unknown;
  explicit_bzero(c.proof, sizeof c.proof); /* now the ClientKey */
  if (!good)
    return -EACCES;
  pt_base64(server_signature, (size_t)s->v.algorithm, text, sizeof text);
  return (size_t)snprintf(out, cap, "v=%s", text) < cap ? 0 : -EPROTO;
}
