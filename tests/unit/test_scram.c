/* SCRAM, both ends: the conversations of RFC 5802, RFC 7677 and MongoDB's specification byte by byte, then against each other and against whoever cheats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "wire/scram.h"

typedef struct conversation {
  int algorithm;
  const char *password; /* what goes into Hi(), for the server's verifier */
  const char *client_nonce, *nonce, *salt;
  unsigned iterations;
  const char *proof, *signature;
} conversation;

static const conversation rfc7677 = {PT_SHA256,
                                     "pencil",
                                     "rOprNGfwEbeRWgbNEkqO",
                                     "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
                                     "W22ZaJ0SNY7soEsUEjb6gQ==",
                                     4096,
                                     "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
                                     "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="};
static const conversation rfc5802 = {PT_SHA1,
                                     "pencil",
                                     "fyko+d2lbbFgONRv9qkxdawL",
                                     "fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j",
                                     "QSXCR+Q6sek8bf92",
                                     4096,
                                     "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
                                     "rmF9pqV8S7suAoZWja4dJRkFsKQ="};
static const conversation mongodb = {PT_SHA1,
                                     "1c33006ec1ffd90f9cadcbcc0e118200", /* MD5 of "user:mongo:pencil" */
                                     "fyko+d2lbbFgONRv9qkxdawL",
                                     "fyko+d2lbbFgONRv9qkxdawLHo+Vgk7qvUOKUwuWLIWg4l/9SraGMHEE",
                                     "rQ9ZY3MntBeuP3E1TDVC4w==",
                                     10000,
                                     "MC2T8BvbmWRckDw8oWl5IVghwCY=",
                                     "UMWeI25JD1yNYZRMpZ4VHvhZ9e0="};

static void texts(const conversation *v, char *client_first_bare, char *server_first, char *client_final, char *server_final) {
  snprintf(client_first_bare, 512, "n=user,r=%s", v->client_nonce);
  snprintf(server_first, 512, "r=%s,s=%s,i=%u", v->nonce, v->salt, v->iterations);
  snprintf(client_final, 512, "c=biws,r=%s,p=%s", v->nonce, v->proof);
  snprintf(server_final, 512, "v=%s", v->signature);
}

/* The client says what the standard says when it happens to draw that nonce. */
static void client_talks(const conversation *v) {
  char bare[512], first[512], final[512], last[512], out[PT_SCRAM_TEXT];
  texts(v, bare, first, final, last);
  pt_scram_client c;
  assert_int_equal(pt_scram_client_first(&c, v->algorithm, "user", out, sizeof out), 0);
  assert_memory_equal(out, "n,,n=user,r=", 12);
  assert_string_equal(out + 12, c.nonce);
  assert_string_equal(out + 3, c.first_bare);
  strcpy(c.nonce, v->client_nonce);
  strcpy(c.first_bare, bare);
  assert_int_equal(pt_scram_client_final(&c, "user", "pencil", first, strlen(first), out, sizeof out), 0);
  assert_string_equal(out, final);
  assert_int_equal(pt_scram_client_verify(&c, last, strlen(last)), 0);
}

static pt_scram_verifier verifier_of(const conversation *v) {
  pt_scram_verifier out = {.algorithm = v->algorithm, .iterations = v->iterations};
  uint8_t salted[32], client_key[32];
  size_t n = (size_t)v->algorithm;
  out.salt_n = (unsigned)pt_base64_decode(v->salt, strlen(v->salt), out.salt, sizeof out.salt);
  assert_int_equal(pt_pbkdf2(v->algorithm, v->password, strlen(v->password), out.salt, out.salt_n, v->iterations, salted), 0);
  assert_int_equal(pt_hmac(v->algorithm, salted, n, "Client Key", 10, client_key), 0);
  assert_int_equal(pt_hash(v->algorithm, client_key, n, out.stored_key), 0);
  assert_int_equal(pt_hmac(v->algorithm, salted, n, "Server Key", 10, out.server_key), 0);
  return out;
}

static void server_talks(const conversation *v) {
  char bare[512], first[512], final[512], last[512], opening[600], out[PT_SCRAM_TEXT];
  texts(v, bare, first, final, last);
  snprintf(opening, sizeof opening, "n,,%s", bare);
  pt_scram_verifier verifier = verifier_of(v);
  pt_scram_server s;
  assert_int_equal(pt_scram_server_first(&s, v->algorithm, &verifier, NULL, opening, strlen(opening), out, sizeof out), 0);
  assert_string_equal(s.user, "user");
  assert_string_equal(out, s.server_first);
  size_t n = strlen(v->client_nonce);
  assert_memory_equal(out, "r=", 2);
  assert_memory_equal(out + 2, v->client_nonce, n);
  assert_string_equal(strchr(out, ','), strchr(first, ',')); /* salt and iterations */
  strcpy(s.nonce, v->nonce);
  strcpy(s.server_first, first);
  assert_int_equal(pt_scram_server_final(&s, final, strlen(final), out, sizeof out), 0);
  assert_string_equal(out, last);
}

static void published_conversations(void **state) {
  (void)state;
  client_talks(&rfc7677);
  client_talks(&mongodb); /* RFC 5802's own is not for MongoDB's clients, which digest the password first */
  server_talks(&rfc7677);
  server_talks(&rfc5802);
  server_talks(&mongodb);
}

/* Both ends, with what happens to the messages in between left to the test. */
typedef struct talk {
  pt_scram_client c;
  pt_scram_server s;
  pt_scram_verifier v;
  char out[4][PT_SCRAM_TEXT];
} talk;

static void talk_start(talk *t, int algorithm, const char *user, const char *password) {
  assert_int_equal(pt_scram_verifier_make(&t->v, algorithm, user, password, 4096), 0);
}

/* Up to the client's final message. */
static void talk_until_final(talk *t, const pt_scram_verifier *v, const char *user, const char *password) {
  assert_int_equal(pt_scram_client_first(&t->c, t->v.algorithm, user, t->out[0], PT_SCRAM_TEXT), 0);
  size_t n = strlen(t->out[0]);
  assert_int_equal(pt_scram_server_first(&t->s, t->v.algorithm, v, &t->v, t->out[0], n, t->out[1], PT_SCRAM_TEXT), 0);
  n = strlen(t->out[1]);
  assert_int_equal(pt_scram_client_final(&t->c, user, password, t->out[1], n, t->out[2], PT_SCRAM_TEXT), 0);
}

static int talk_end(talk *t) {
  int e = pt_scram_server_final(&t->s, t->out[2], strlen(t->out[2]), t->out[3], PT_SCRAM_TEXT);
  if (!e)
    assert_int_equal(pt_scram_client_verify(&t->c, t->out[3], strlen(t->out[3])), 0);
  return e;
}

static void each_other(void **state) {
  (void)state;
  static const char *const users[] = {"user", "a,b=c,,==", "\xc3\xbcn\xc3\xaf", "=2C", "x y"};
  talk t;
  for (int algorithm = PT_SHA1; algorithm <= PT_SHA256; algorithm += PT_SHA256 - PT_SHA1)
    for (size_t i = 0; i < sizeof users / sizeof *users; i++) {
      char name[256];
      talk_start(&t, algorithm, users[i], "p\xc3\xa4ss=,w");
      talk_until_final(&t, &t.v, users[i], "p\xc3\xa4ss=,w");
      assert_int_equal(pt_scram_server_user(t.out[0], strlen(t.out[0]), name, sizeof name), 0);
      assert_string_equal(name, users[i]);
      assert_string_equal(t.s.user, users[i]);
      assert_int_equal(talk_end(&t), 0);
      talk_until_final(&t, &t.v, users[i], "another");
      assert_int_equal(talk_end(&t), -EACCES);
    }
}

/* More users, passwords and salts in turn than keys are kept for. */
static void many_in_turn(void **state) {
  (void)state;
  enum {
    USERS = 11
  };
  talk t;
  pt_scram_verifier v[USERS];
  char password[32];
  for (int i = 0; i < USERS; i++) {
    snprintf(password, sizeof password, "secret%d", i / 2);
    assert_int_equal(pt_scram_verifier_make(&v[i], i % 3 ? PT_SHA256 : PT_SHA1, "user", password, 4096 + (unsigned)i / 4), 0);
  }
  for (int i = 0; i < 8 * USERS; i++) {
    int right = i * 7 % USERS, tried = i % 4 == 3 ? i % USERS : right;
    snprintf(password, sizeof password, "secret%d", tried / 2);
    t.v = v[right];
    talk_until_final(&t, &t.v, "user", password);
    assert_int_equal(talk_end(&t), tried / 2 == right / 2 ? 0 : -EACCES);
  }
}

/* Whatever one bit of a final message is changed to: nobody gets in. */
static void changed_bits(void **state) {
  (void)state;
  talk t;
  talk_start(&t, PT_SHA256, "user", "pencil");
  talk_until_final(&t, &t.v, "user", "pencil");
  pt_scram_client client = t.c;
  pt_scram_server server = t.s;
  for (size_t bit = 0; bit < 8 * strlen(t.out[2]); bit++) {
    char text[PT_SCRAM_TEXT];
    size_t n = strlen(t.out[2]);
    memcpy(text, t.out[2], n);
    text[bit / 8] ^= (char)(1 << bit % 8);
    t.s = server;
    int e = pt_scram_server_final(&t.s, text, n, t.out[3], PT_SCRAM_TEXT);
    assert_true(e == -EACCES || e == -EPROTO);
  }
  t.s = server;
  assert_int_equal(talk_end(&t), 0);
  for (size_t bit = 0; bit < 8 * strlen(t.out[3]); bit++) {
    char text[PT_SCRAM_TEXT];
    size_t n = strlen(t.out[3]);
    memcpy(text, t.out[3], n);
    text[bit / 8] ^= (char)(1 << bit % 8);
    t.c = client;
    assert_int_equal(pt_scram_client_verify(&t.c, text, n), -EACCES);
  }
  t.c = client;
  assert_int_equal(pt_scram_client_verify(&t.c, "e=invalid-proof", 15), -EACCES);
}

static void one_try(void **state) {
  (void)state;
  talk t;
  talk_start(&t, PT_SHA256, "user", "pencil");
  talk_until_final(&t, &t.v, "user", "pencil");
  char final[PT_SCRAM_TEXT];
  strcpy(final, t.out[2]);
  assert_int_equal(talk_end(&t), 0);
  assert_int_equal(pt_scram_server_final(&t.s, final, strlen(final), t.out[3], PT_SCRAM_TEXT), -EPROTO); /* again */
  assert_int_equal(pt_scram_client_verify(&t.c, t.out[3], strlen(t.out[3])), -EACCES);

  talk_until_final(&t, &t.v, "user", "pencil"); /* what was heard in another conversation */
  assert_int_equal(pt_scram_server_final(&t.s, final, strlen(final), t.out[3], PT_SCRAM_TEXT), -EACCES);
  assert_int_equal(talk_end(&t), -EPROTO);

  pt_scram_client c; /* a server that skips what it cannot do */
  assert_int_equal(pt_scram_client_first(&c, PT_SHA256, "user", t.out[0], PT_SCRAM_TEXT), 0);
  assert_int_equal(pt_scram_client_verify(&c, "v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", 46), -EACCES);
  assert_int_equal(pt_scram_client_final(&c, "user", "x", t.out[1], strlen(t.out[1]), t.out[2], PT_SCRAM_TEXT), -EPROTO);

  pt_scram_server s = {0};
  assert_int_equal(pt_scram_server_final(&s, final, strlen(final), t.out[3], PT_SCRAM_TEXT), -EPROTO);
}

/* What the server tells about a name. */
static void ask(const char *name, int algorithm, const pt_scram_verifier *v, const pt_scram_verifier *like, char *told) {
  char first[300], out[PT_SCRAM_TEXT];
  pt_scram_server s;
  snprintf(first, sizeof first, "n,,n=%s,r=abcdefgh", name);
  assert_int_equal(pt_scram_server_first(&s, algorithm, v, like, first, strlen(first), out, sizeof out), 0);
  assert_int_equal(s.unknown, v == NULL || v->algorithm != algorithm);
  strcpy(told, strchr(out, ','));
}

static void unknown_users(void **state) {
  (void)state;
  talk t;
  char told[3][PT_SCRAM_TEXT];
  for (int algorithm = PT_SHA1; algorithm <= PT_SHA256; algorithm += PT_SHA256 - PT_SHA1) {
    talk_start(&t, algorithm, "user", "pencil");
    ask("user", algorithm, &t.v, NULL, told[0]);
    ask("nobody", algorithm, NULL, &t.v, told[1]);
    ask("nobody", algorithm, NULL, &t.v, told[2]);
    assert_string_equal(told[1], told[2]); /* the same when asked again */
    assert_string_not_equal(told[0], told[1]);
    assert_int_equal(strlen(told[0]), strlen(told[1]));
    assert_string_equal(strstr(told[0], ",i="), strstr(told[1], ",i="));
    ask("nobodz", algorithm, NULL, &t.v, told[2]);
    assert_string_not_equal(told[1], told[2]);

    pt_scram_verifier made;
    assert_int_equal(pt_scram_verifier_make(&made, algorithm, "user", "pencil", 0), 0);
    ask("user", algorithm, &made, NULL, told[0]);
    ask("nobody", algorithm, NULL, NULL, told[1]);
    assert_int_equal(strlen(told[0]), strlen(told[1]));
    assert_string_equal(strstr(told[0], ",i="), strstr(told[1], ",i="));

    talk_until_final(&t, NULL, "nobody", "pencil");
    assert_int_equal(talk_end(&t), -EACCES);
    talk_until_final(&t, NULL, "user", "pencil"); /* right keys would not help either */
    memcpy(t.s.v.stored_key, t.v.stored_key, sizeof t.v.stored_key);
    assert_int_equal(talk_end(&t), -EACCES);
  }
  talk_start(&t, PT_SHA256, "user", "pencil"); /* a user of the other algorithm only */
  ask("user", PT_SHA1, &t.v, &t.v, told[0]);
  assert_string_equal(strstr(told[0], ",i="), ",i=10000");
}

static void client_refuses(void **state) {
  (void)state;
  static const char *const bad[] = {
      "",
      "r",
      "r=%s",
      "r=%s,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", /* nothing added to our nonce */
      "r=x%sx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
      "r=%s\x7f,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
      "r=%sx\xc3\xbc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
      "r=%s ,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
      "m=ext,r=%sx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
      "s=W22ZaJ0SNY7soEsUEjb6gQ==,r=%sx,i=4096",
      "r=%sx,s=,i=4096",
      "r=%sx,s=W22ZaJ0SNY7soEsUEjb6g,i=4096",
      "r=%sx,i=4096",
      "r=%sx,s=W22ZaJ0SNY7soEsUEjb6gQ==",
      "r=%sx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=",
      "r=%sx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1",
      "r=%sx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4095",
      "r=%sx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=-4096",
      "r=%sx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=04096",
      "r=%sx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096 ",
      "r=%sx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1000001",
      "r=%sx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4294971392",
      "r=%sx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=99999999999999999999999",
  };
  char first[PT_SCRAM_TEXT], out[PT_SCRAM_TEXT];
  pt_scram_client c;
  assert_int_equal(pt_scram_client_first(&c, PT_SHA256, "user", out, sizeof out), 0);
  pt_scram_client fresh = c;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    const char *hole = strstr(bad[i], "%s");
    int at = hole ? (int)(hole - bad[i]) : (int)strlen(bad[i]);
    snprintf(first, sizeof first, "%.*s%s%s", at, bad[i], hole ? c.nonce : "", hole ? hole + 2 : "");
    char *exact = malloc(strlen(first) + 1);
    memcpy(exact, first, strlen(first));
    c = fresh;
    assert_int_equal(pt_scram_client_final(&c, "user", "pencil", exact, strlen(first), out, sizeof out), -EPROTO);
    free(exact);
  }
  char lengthy[600]; /* a nonce that is too long for what is kept */
  c = fresh;
  int n = snprintf(lengthy, sizeof lengthy, "r=%s%0500d,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", c.nonce, 0);
  assert_int_equal(pt_scram_client_final(&c, "user", "pencil", lengthy, (size_t)n, out, sizeof out), -EPROTO);

  char user[600];
  memset(user, 'u', sizeof user);
  user[599] = 0;
  assert_int_equal(pt_scram_client_first(&c, PT_SHA256, user, out, sizeof out), -EINVAL);
  assert_int_equal(pt_scram_client_first(&c, PT_SHA256, "", out, sizeof out), -EINVAL);
}

static void server_refuses(void **state) {
  (void)state;
  static const char *const bad[] = {
      "",
      "n",
      "n,",
      "n,,",
      "n,,n=user",
      "n,,n=user,",
      "n,,n=user,r=",
      "n,,n=,r=abc",
      "n,,r=abc,n=user",
      "n,,m=x,n=user,r=abc",
      "n,a=other,n=user,r=abc",
      "p=tls-unique,,n=user,r=abc",
      "x,,n=user,r=abc",
      "n,,n=us=2cer,r=abc",
      "n,,n=us=er,r=abc",
      "n,,n=user=2,r=abc",
      "n,,n=us\xffr,r=abc",
      "n,,n=user,r=ab c",
      "n,,n=user,r=ab\xc3\xbc",
      "n,,n=user,x=abc",
  };
  pt_scram_server s;
  char name[256], out[PT_SCRAM_TEXT], lengthy[800];
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    size_t n = strlen(bad[i]);
    char *exact = malloc(n + 1);
    memcpy(exact, bad[i], n);
    assert_int_equal(pt_scram_server_user(exact, n, name, sizeof name), -EPROTO);
    assert_int_equal(pt_scram_server_first(&s, PT_SHA256, NULL, NULL, exact, n, out, sizeof out), -EPROTO);
    free(exact);
  }
  assert_int_equal(pt_scram_server_user("n,,n=us\0er,r=abc", 16, name, sizeof name), -EPROTO);

  static const struct {
    const char *before, *after;
    int longest;
  } limits[] = {{"n,,n=", ",r=abc", 255}, {"n,,n=user,r=", "", 80}, {"n,,n=user,r=abc,x=", "", 511 - 15}};
  for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
    for (int more = 0; more < 2; more++) {
      int n = snprintf(lengthy, sizeof lengthy, "%s%0*d%s", limits[i].before, limits[i].longest + more, 0, limits[i].after);
      assert_int_equal(pt_scram_server_first(&s, PT_SHA256, NULL, NULL, lengthy, (size_t)n, out, sizeof out), more ? -EPROTO : 0);
    }
}

/* "y,,": a client that would bind the channel if the server could. What it says at the end must match how it began. */
static void channel_binding(void **state) {
  (void)state;
  talk t;
  talk_start(&t, PT_SHA256, "user", "pencil");
  assert_int_equal(pt_scram_client_first(&t.c, PT_SHA256, "user", t.out[0], PT_SCRAM_TEXT), 0);
  t.out[0][0] = 'y';
  assert_int_equal(pt_scram_server_first(&t.s, PT_SHA256, &t.v, NULL, t.out[0], strlen(t.out[0]), t.out[1], PT_SCRAM_TEXT), 0);
  assert_int_equal(pt_scram_client_final(&t.c, "user", "pencil", t.out[1], strlen(t.out[1]), t.out[2], PT_SCRAM_TEXT), 0);
  assert_int_equal(talk_end(&t), -EPROTO); /* it began with "y" and ends with "n" */
}

static void verifiers(void **state) {
  (void)state;
  char text[256], again[256];
  pt_scram_verifier v = verifier_of(&rfc7677), back;
  assert_int_equal(pt_scram_verifier_write(&v, text, sizeof text), 0);
  assert_string_equal(text, "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
                            "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
  assert_int_equal(pt_scram_verifier_parse(&back, text), 0);
  assert_memory_equal(&v, &back, sizeof v);
  for (size_t cap = 0; cap <= strlen(text); cap++)
    assert_int_equal(pt_scram_verifier_write(&v, again, cap), -ENOSPC);
  for (size_t n = 0; n < strlen(text); n++) { /* no beginning of it is one */
    memcpy(again, text, n);
    again[n] = 0;
    assert_int_equal(pt_scram_verifier_parse(&back, again), -EINVAL);
  }

  assert_int_equal(pt_scram_verifier_make(&v, PT_SHA1, "user", "pencil", 4096), 0);
  assert_int_equal(pt_scram_verifier_write(&v, text, sizeof text), 0);
  assert_int_equal(strncmp(text, "SCRAM-SHA-1$4096:", 17), 0);
  assert_int_equal(pt_scram_verifier_parse(&back, text), 0);
  assert_memory_equal(&v, &back, sizeof v);

  static const char *const bad[] = {
      "SCRAM-SHA-512$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
      "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
      "SCRAM-SHA-1$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
      "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
      "SCRAM-SHA-256$409:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
      "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
      "SCRAM-SHA-256$4096:$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
      "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==:WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
      "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
      "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
      "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n",
      "SCRAM-SHA-256",
      "pencil",
      "",
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(pt_scram_verifier_parse(&back, bad[i]), -EINVAL);
}

static void passwords(void **state) {
  (void)state;
  static const char *const bad[] = {"", "a\nb", "\x1f", "\x7f", "a\xc2\x80", "\xc2\x9f", "\xff", "\xc3", "\xed\xa0\x80"};
  pt_scram_verifier v;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(pt_scram_verifier_make(&v, PT_SHA256, "user", bad[i], 4096), -EINVAL);
  char lengthy[2100];
  memset(lengthy, 'x', sizeof lengthy);
  lengthy[sizeof lengthy - 1] = 0;
  assert_int_equal(pt_scram_verifier_make(&v, PT_SHA256, "user", lengthy, 4096), -EINVAL);
  assert_int_equal(pt_scram_verifier_make(&v, PT_SHA1, "user", lengthy, 4096), -EINVAL);
  assert_int_equal(pt_scram_verifier_make(&v, PT_SHA1, "user", "", 4096), -EINVAL);
  assert_int_equal(pt_scram_verifier_make(&v, PT_SHA256, "user", "\xc2\xa0 \xe2\x82\xac", 4096), 0);
  assert_int_equal(pt_scram_verifier_make(&v, PT_SHA256, "user", "pencil", 4095), -EINVAL);
  assert_int_equal(pt_scram_verifier_make(&v, PT_SHA256, "user", "pencil", 1000001), -EINVAL);
  assert_int_equal(pt_scram_verifier_make(&v, PT_SHA256, "user", "pencil", 0), 0);
  assert_int_equal(v.iterations, 15000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(published_conversations),
      cmocka_unit_test(each_other),
      cmocka_unit_test(many_in_turn),
      cmocka_unit_test(changed_bits),
      cmocka_unit_test(one_try),
      cmocka_unit_test(unknown_users),
      cmocka_unit_test(client_refuses),
      cmocka_unit_test(server_refuses),
      cmocka_unit_test(channel_binding),
      cmocka_unit_test(verifiers),
      cmocka_unit_test(passwords),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
