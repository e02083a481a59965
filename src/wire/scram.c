/* SCRAM: verifiers, and the parts both ends share. */
#include "wire/scram.h"

#include <bson/bson.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "wire/number.h"
#include "wire/scram_parts.h"

enum {
  PASSWORD_MAX = 1024 /* bytes; what the digest for SCRAM-SHA-1 is made of lies on the stack */
};

int pt_scram_take(pt_scram_text *t, char name, pt_scram_text *value) {
  if (pt_scram_length(*t) < 2 || t->p[0] != name || t->p[1] != '=')
    return -EPROTO;
  value->p = t->p + 2;
  const char *comma = memchr(value->p, ',', (size_t)(t->end - value->p));
  value->end = comma ? comma : t->end;
  t->p = comma ? comma + 1 : t->end;
  return 0;
}

int pt_scram_nonce_good(pt_scram_text nonce) {
  for (const char *p = nonce.p; p < nonce.end; p++)
    if (*p < 0x21 || *p > 0x7e)
      return 0;
  return nonce.p < nonce.end;
}

unsigned pt_scram_iterations(pt_scram_text t) {
  int64_t v;
  int number = pt_number((const uint8_t *)t.p, pt_scram_length(t), &v);
  return number && v >= PT_SCRAM_MIN_ITERATIONS && v <= PT_SCRAM_MAX_ITERATIONS ? (unsigned)v : 0;
}

int pt_scram_escape(const char *user, char *out, size_t cap) {
  if (!*user)
    return -EINVAL;
  size_t n = 0;
  for (; *user; user++) {
    if (n + 4 > cap)
      return -EINVAL;
    if (*user == ',' || *user == '=') {
      memcpy(out + n, *user == ',' ? "=2C" : "=3D", 3);
      n += 3;
    } else {
      out[n++] = *user;
    }
  }
  out[n] = 0;
  return 0;
}

int pt_scram_unescape(pt_scram_text name, char *user, size_t cap) {
  size_t n = 0;
  for (const char *p = name.p; p < name.end; p++) {
    char c = *p;
    if (c == '=') {
      if (name.end - p < 3 || (memcmp(p, "=2C", 3) && memcmp(p, "=3D", 3)))
        return -EPROTO;
      c = p[2] == 'C' ? ',' : '=';
      p += 2;
    }
    if (n + 1 >= cap)
      return -EPROTO;
    user[n++] = c;
  }
  if (!n || !bson_utf8_validate(user, n, false))
    return -EPROTO;
  user[n] = 0;
  return 0;
}

/* SASLprep (RFC 4013) of a password, as far as it is needed: ASCII stays as it is, other UTF-8 is taken as it is (whoever types it in another
 * normal form or with a special space is not understood), control characters are refused. */
static int password_good(const char *password) {
  size_t n = strlen(password);
  if (!n || n > PASSWORD_MAX || !bson_utf8_validate(password, n, false))
    return 0;
  for (const uint8_t *p = (const uint8_t *)password; *p; p++)
    if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0))
      return 0;
  return 1;
}

void pt_scram_defaults(pt_scram_verifier *v) {
  if (!v->iterations)
    v->iterations = v->algorithm == PT_SHA256 ? 15000 : 10000;
  if (!v->salt_n)
    v->salt_n = v->algorithm == PT_SHA256 ? 28 : 16;
}

int pt_scram_salted(int algorithm, const char *user, const char *password, const uint8_t *salt, size_t salt_n,
                    unsigned iterations, uint8_t *out) {
  if (algorithm == PT_SHA256)
    return password_good(password) ? pt_pbkdf2(algorithm, password, strlen(password), salt, salt_n, iterations, out) : -EINVAL;

  /* MongoDB's SCRAM-SHA-1 has the digest of its older mechanism in place of the password, any bytes of it. */
  char text[2 * PASSWORD_MAX], digest[33];
  int n = snprintf(text, sizeof text, "%s:mongo:%s", user, password);
  int e = *password && n > 0 && (size_t)n < sizeof text ? pt_md5_hex(text, (size_t)n, digest) : -EINVAL;
  if (!e)
    e = pt_pbkdf2(algorithm, digest, 32, salt, salt_n, iterations, out);
  explicit_bzero(text, sizeof text);
  explicit_bzero(digest, sizeof digest);
  return e;
}

int pt_scram_keys(int algorithm, const uint8_t *salted, uint8_t *client_key, uint8_t *stored_key, uint8_t *server_key) {
  size_t n = (size_t)algorithm;
  int e = pt_hmac(algorithm, salted, n, "Client Key", 10, client_key);
  if (!e)
    e = pt_hash(algorithm, client_key, n, stored_key);
  if (!e)
    e = pt_hmac(algorithm, salted, n, "Server Key", 10, server_key);
  return e;
}

int pt_scram_sign(int algorithm, const uint8_t *stored_key, const uint8_t *server_key, const pt_scram_text messages[3],
                  uint8_t *client_signature, uint8_t *server_signature) {
  char auth[3 * PT_SCRAM_PART + 2];
  size_t n = 0;
  for (int i = 0; i < 3; i++) {
    size_t len = pt_scram_length(messages[i]);
    if (len > PT_SCRAM_PART)
      return -EPROTO;
    if (i)
      auth[n++] = ',';
    memcpy(auth + n, messages[i].p, len);
    n += len;
  }
  int e = pt_hmac(algorithm, stored_key, (size_t)algorithm, auth, n, client_signature);
  return e ? e : pt_hmac(algorithm, server_key, (size_t)algorithm, auth, n, server_signature);
}

/* Takes the text up to the separator (0: to the end) from the front of t. */
static int take_until(pt_scram_text *t, char separator, pt_scram_text *part) {
  const char *at = separator ? memchr(t->p, separator, pt_scram_length(*t)) : t->end;
  if (!at)
    return -EINVAL;
  *part = (pt_scram_text){t->p, at};
  t->p = separator ? at + 1 : at;
  return 0;
}

static int decode(pt_scram_text t, uint8_t *out, size_t cap) { return pt_base64_decode(t.p, pt_scram_length(t), out, cap); }

int pt_scram_verifier_parse(pt_scram_verifier *v, const char *text) {
  *v = (pt_scram_verifier){.algorithm = strncmp(text, "SCRAM-SHA-256$", 14) == 0 ? PT_SHA256 : PT_SHA1};
  if (v->algorithm == PT_SHA1 && strncmp(text, "SCRAM-SHA-1$", 12) != 0)
    return -EINVAL;
  pt_scram_text t = {strchr(text, '$') + 1, text + strlen(text)}, iterations, salt, stored_key, server_key;
  if (take_until(&t, ':', &iterations) || take_until(&t, '$', &salt) || take_until(&t, ':', &stored_key) ||
      take_until(&t, 0, &server_key))
    return -EINVAL;
  int salt_n = decode(salt, v->salt, sizeof v->salt);
  v->iterations = pt_scram_iterations(iterations);
  v->salt_n = salt_n > 0 ? (unsigned)salt_n : 0;
  if (!v->iterations || !v->salt_n || decode(stored_key, v->stored_key, sizeof v->stored_key) != v->algorithm ||
      decode(server_key, v->server_key, sizeof v->server_key) != v->algorithm)
    return -EINVAL;
  return 0;
}

int pt_scram_verifier_make(pt_scram_verifier *v, int algorithm, const char *user, const char *password, unsigned iterations) {
  *v = (pt_scram_verifier){.algorithm = algorithm, .iterations = iterations};
  pt_scram_defaults(v);
  if (v->iterations < PT_SCRAM_MIN_ITERATIONS || v->iterations > PT_SCRAM_MAX_ITERATIONS)
    return -EINVAL;
  uint8_t salted[PT_SHA256], client_key[PT_SHA256];
  int e = pt_random(v->salt, v->salt_n);
  if (!e)
    e = pt_scram_salted(algorithm, user, password, v->salt, v->salt_n, v->iterations, salted);
  if (!e)
    e = pt_scram_keys(algorithm, salted, client_key, v->stored_key, v->server_key);
  explicit_bzero(salted, sizeof salted);
  explicit_bzero(client_key, sizeof client_key);
  return e;
}

int pt_scram_verifier_write(const pt_scram_verifier *v, char *out, size_t cap) {
  char salt[48], stored_key[48], server_key[48];
  pt_base64(v->salt, v->salt_n, salt, sizeof salt);
  pt_base64(v->stored_key, (size_t)v->algorithm, stored_key, sizeof stored_key);
  pt_base64(v->server_key, (size_t)v->algorithm, server_key, sizeof server_key);
  int n = snprintf(out, cap, "SCRAM-SHA-%s$%u:%s$%s:%s", v->algorithm == PT_SHA256 ? "256" : "1", v->iterations, salt, stored_key,
                   server_key);
  return n > 0 && (size_t)n < cap ? 0 : -ENOSPC;
}
