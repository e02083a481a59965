/* SCRAM: RFC 7677's conversation with anything in its place. The first byte tells who is tried, lines are what arrives: S the client's two
 * messages at the server, C the server's two at the client, V a verifier. Nobody is let in but by the true messages. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wire/scram.h"

#define CLIENT_NONCE "rOprNGfwEbeRWgbNEkqO"
#define NONCE CLIENT_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define CLIENT_FIRST "n,,n=user,r=" CLIENT_NONCE
#define SERVER_FIRST "r=" NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
#define CLIENT_FINAL "c=biws,r=" NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
#define SERVER_FINAL "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
#define VERIFIER                                                                                                                 \
  "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"                                    \
  "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static void check(int ok) {
  if (!ok)
    abort();
}

static int is(const char *p, size_t n, const char *text) { return n == strlen(text) && !memcmp(p, text, n); }

/* A name that is understood is written so that it is understood as the same. */
static void check_user(const char *first, size_t n) {
  char user[256], again[256], out[PT_SCRAM_TEXT];
  pt_scram_client c;
  if (pt_scram_server_user(first, n, user, sizeof user))
    return;
  int e = pt_scram_client_first(&c, PT_SHA256, user, out, sizeof out);
  check(!e || strlen(user) > 100);
  if (!e)
    check(!pt_scram_server_user(out, strlen(out), again, sizeof again) && !strcmp(user, again));
}

static void try_server(const char *first, size_t first_n, const char *final, size_t final_n) {
  char out[PT_SCRAM_TEXT];
  pt_scram_verifier v;
  check(!pt_scram_verifier_parse(&v, VERIFIER));
  for (int known = 0; known < 2; known++) {
    pt_scram_server s;
    if (pt_scram_server_first(&s, PT_SHA256, known ? &v : NULL, &v, first, first_n, out, sizeof out))
      return;
    check(strlen(out) < 256 && !strcmp(out, s.server_first));
    strcpy(s.nonce, NONCE); /* as if drawn */
    strcpy(s.server_first, SERVER_FIRST);
    int e = pt_scram_server_final(&s, final, final_n, out, sizeof out);
    check(e == 0 || e == -EACCES || e == -EPROTO);
    if (known && is(first, first_n, CLIENT_FIRST) && is(final, final_n, CLIENT_FINAL))
      check(e == 0 && !strcmp(out, SERVER_FINAL));
    else
      check(e != 0);
  }
}

/* 1: more iterations than there is time for here. */
static int costly(const char *p, size_t n) {
  size_t run = 0;
  for (size_t i = 0; i < n && run < 5; i++)
    run = p[i] >= '0' && p[i] <= '9' ? run + 1 : 0;
  return run >= 5;
}

static void try_client(const char *first, size_t first_n, const char *final, size_t final_n) {
  char out[PT_SCRAM_TEXT];
  pt_scram_client c;
  if (costly(first, first_n))
    return;
  check(!pt_scram_client_first(&c, PT_SHA256, "user", out, sizeof out));
  strcpy(c.nonce, CLIENT_NONCE);
  strcpy(c.first_bare, &CLIENT_FIRST[3]);
  int e = pt_scram_client_final(&c, "user", "pencil", first, first_n, out, sizeof out);
  check(e == 0 || e == -EPROTO);
  if (is(first, first_n, SERVER_FIRST))
    check(e == 0 && !strcmp(out, CLIENT_FINAL));
  e = pt_scram_client_verify(&c, final, final_n);
  check(e == 0 || e == -EACCES);
  int proves = final_n >= strlen(SERVER_FINAL) && !memcmp(final, SERVER_FINAL, strlen(SERVER_FINAL));
  check(e != 0 || (proves && is(first, first_n, SERVER_FIRST)));
}

/* A verifier has one form. */
static void try_verifier(const char *p, size_t n) {
  char *text = malloc(n + 1), out[256];
  memcpy(text, p, n);
  text[n] = 0;
  pt_scram_verifier v;
  if (!pt_scram_verifier_parse(&v, text)) {
    check(!pt_scram_verifier_write(&v, out, sizeof out) && !strcmp(out, text));
    check(v.salt_n && v.salt_n <= sizeof v.salt && v.iterations >= PT_SCRAM_MIN_ITERATIONS);
  }
  free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *buf, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *buf, size_t n) {
  if (n < 2 || n > 4096)
    return 0;
  const char *p = (const char *)buf + 1, *end = (const char *)buf + n, *lf = memchr(p, '\n', n - 1);
  size_t one = (size_t)((lf ? lf : end) - p), two = lf ? (size_t)(end - lf - 1) : 0;
  char *first = malloc(one ? one : 1), *final = malloc(two ? two : 1); /* of their own sizes, so that a read too far is seen */
  memcpy(first, p, one);
  if (two)
    memcpy(final, lf + 1, two);
  switch (buf[0]) {
  case 'S':
    check_user(first, one);
    try_server(first, one, final, two);
    break;
  case 'C':
    try_client(first, one, final, two);
    break;
  case 'V':
    try_verifier(p, n - 1);
    break;
  }
  free(first);
  free(final);
  return 0;
}
