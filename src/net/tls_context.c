/* Contexts: from files to what sessions are made of. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "net/tls_state.h"

enum {
  TICKET_KEYS = 80, /* bytes */
  RESUME_S = 3600, /* how long a client may resume a session */
  READ_AHEAD = 64 * 1024 /* bytes asked of the socket at once; held while a read lasts */
};

void pt_tls_options_free(pt_tls_options *o) {
  if (!o)
    return;
  for (unsigned i = 0; i < o->nnames; i++) {
    free(o->names[i].name);
    free(o->names[i].cert);
    free(o->names[i].key);
  }
  free(o->names);
  free(o->where);
  free(o->cert);
  free(o->key);
  free(o->ca);
  free(o->server_name);
  free(o->ciphers);
  free(o->ciphersuites);
  free(o);
}

/* What one call works on. */
typedef struct job {
  const pt_tls_options *o;
  char *err, *warn;
  size_t errsize, warnsize;
  int64_t expires; /* the earliest of its certificates */
} job;

static __attribute__((format(printf, 2, 3))) int fail(job *j, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  vsnprintf(j->err, j->errsize, fmt, args);
  va_end(args);
  ERR_clear_error();
  return -1;
}

/* "what: path: why" */
static int fail_file(job *j, const char *what, const char *path) {
  char why[PT_TLS_WHY];
  unsigned long e = ERR_peek_error();
  int system = ERR_GET_LIB(e) == ERR_LIB_SYS ? ERR_GET_REASON(e) : access(path, R_OK) ? errno : 0;
  if (system)
    return fail(j, "%s: %s: %s", what, path, strerror(system));
  bool key = !strcmp(what, "key");
  int reason = ERR_GET_REASON(e);
  if (key || (ERR_GET_LIB(e) == ERR_LIB_PEM && reason == PEM_R_NO_START_LINE) ||
      (ERR_GET_LIB(e) == ERR_LIB_X509 && reason == X509_R_NO_CERTIFICATE_OR_CRL_FOUND))
    return fail(j, "%s: %s: no PEM file with a %s", what, path, key ? "private key" : "certificate");
  pt_tls_explain(NULL, why);
  return fail(j, "%s: %s: %s", what, path, *why ? why : "not usable");
}

/* ---- certificates ---- */

/* Nobody is there to type a passphrase. */
static int no_passphrase(char *buf, int size, int writing, void *arg) {
  (void)buf, (void)size, (void)writing;
  *(bool *)arg = true;
  return -1;
}

static void look_at_dates(job *j, const char *path, const X509 *cert) {
  struct tm end;
  int64_t expires = ASN1_TIME_to_tm(X509_get0_notAfter(cert), &end) ? timegm(&end) : 0;
  if (expires && (!j->expires || expires < j->expires))
    j->expires = expires;
  char when[64] = "";
  bool over = X509_cmp_current_time(X509_get0_notAfter(cert))<0, early = X509_cmp_current_time(X509_get0_notBefore(cert))> 0;
  BIO *text = BIO_new(BIO_s_mem());
  if (text && (over || early) && ASN1_TIME_print(text, over ? X509_get0_notAfter(cert) : X509_get0_notBefore(cert))) {
    int n = BIO_read(text, when, sizeof when - 1);
    when[n > 0 ? n : 0] = 0;
  }
  if (over || early)
    snprintf(j->warn, j->warnsize, "cert: %s: %s %s", path, over ? "has expired on" : "is not good before", when);
  BIO_free(text);
}

/* A certificate with its chain, and the key that belongs to it. */
static int use_pair(job *j, SSL_CTX *ctx, const char *cert, const char *key) {
  bool locked = false;
  SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
  SSL_CTX_set_default_passwd_cb_userdata(ctx, &locked);
  ERR_clear_error();
  int e = 0;
  if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
    e = fail_file(j, "cert", cert);
  else if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(ctx) != 1) {
    int reason = ERR_GET_REASON(ERR_peek_last_error());
    bool other = reason == X509_R_KEY_VALUES_MISMATCH || reason == X509_R_KEY_TYPE_MISMATCH;
    e = locked  ? fail(j, "key: %s: needs a passphrase; expected a key without one", key)
        : other ? fail(j, "key: %s: does not belong to the certificate %s", key, cert)
                : fail_file(j, "key", key);
  } else {
    look_at_dates(j, cert, SSL_CTX_get0_certificate(ctx));
  }
  SSL_CTX_set_default_passwd_cb_userdata(ctx, NULL);
  return e;
}

static int trust(job *j, SSL_CTX *ctx) {
  const pt_tls_options *o = j->o;
  if (o->verify == PT_TLS_VERIFY_NONE)
    return 0;
  ERR_clear_error();
  if (o->ca && SSL_CTX_load_verify_file(ctx, o->ca) != 1)
    return fail_file(j, "ca", o->ca);
  if (!o->ca && SSL_CTX_set_default_verify_paths(ctx) != 1)
    return fail(j, "ca: the system's certificates cannot be read");
  if (o->server) {
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(o->ca);
    if (!names)
      return fail_file(j, "ca", o->ca);
    SSL_CTX_set_client_CA_list(ctx, names);
  }
  SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | (o->verify == PT_TLS_VERIFY_REQUIRED ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
  return 0;
}

/* ---- what is agreed on ---- */

/* Sessions made under another trust are not resumed. */
static void name_sessions(SSL_CTX *ctx, const pt_tls_options *o) {
  unsigned char id[EVP_MAX_MD_SIZE];
  unsigned n = 0;
  EVP_MD_CTX *md = EVP_MD_CTX_new();
  STACK_OF(X509_OBJECT) *trusted = X509_STORE_get0_objects(SSL_CTX_get_cert_store(ctx));
  if (md && EVP_DigestInit(md, EVP_sha256()) && EVP_DigestUpdate(md, &o->verify, sizeof o->verify)) {
    for (int i = 0; i < sk_X509_OBJECT_num(trusted); i++) {
      unsigned char one[EVP_MAX_MD_SIZE];
      X509 *cert = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(trusted, i));
      unsigned m = 0;
      if (cert && X509_digest(cert, EVP_sha256(), one, &m))
        EVP_DigestUpdate(md, one, m);
    }
    EVP_DigestFinal(md, id, &n);
  }
  EVP_MD_CTX_free(md);
  SSL_CTX_set_session_id_context(ctx, id, n < SSL_MAX_SSL_SESSION_ID_LENGTH ? n : SSL_MAX_SSL_SESSION_ID_LENGTH);
}

static int keep_session(SSL *ssl, SSL_SESSION *s) {
  pt_tls *t = SSL_get_app_data(ssl);
  pt_tls_context_keep(t->ctx, t->peer, t->name ? t->name : "", s);
  return 1;
}

static int agree(job *j, SSL_CTX *ctx) {
  const pt_tls_options *o = j->o;
  SSL_CTX_set_min_proto_version(ctx, o->tls13 ? TLS1_3_VERSION : TLS1_2_VERSION);
  SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_ENABLE_KTLS |
                               (o->server && !o->tickets ? SSL_OP_NO_TICKET : 0));
  SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(ctx, 1);
  SSL_CTX_set_default_read_buffer_len(ctx, READ_AHEAD);
  SSL_CTX_set_dh_auto(ctx, 1);
  SSL_CTX_set_timeout(ctx, RESUME_S);
  if (o->server) {
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ctx, o->tickets ? 2 : 0);
    name_sessions(ctx, o);
  } else {
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, keep_session);
  }
  if (o->ciphers && SSL_CTX_set_cipher_list(ctx, o->ciphers) != 1)
    return fail(j, "ciphers: OpenSSL knows none of \"%s\"", o->ciphers);
  if (o->ciphersuites && SSL_CTX_set_ciphersuites(ctx, o->ciphersuites) != 1)
    return fail(j, "ciphersuites: OpenSSL does not know \"%s\"", o->ciphersuites);
  return 0;
}

/* NULL: err says why. */
static SSL_CTX *make(job *j, const char *cert, const char *key) {
  SSL_CTX *ctx = SSL_CTX_new(j->o->server ? TLS_server_method() : TLS_client_method());
  if (!ctx) {
    fail(j, "out of memory");
    return NULL;
  }
  if ((cert && use_pair(j, ctx, cert, key)) || trust(j, ctx) || agree(j, ctx)) {
    SSL_CTX_free(ctx);
    return NULL;
  }
  return ctx;
}

/* ---- server names ---- */

/* "*.example.com" is one label and what follows. */
static bool matches(const char *pattern, const char *name) {
  if (pattern[0] == '*' && pattern[1] == '.')
    return (name = strchr(name, '.')) && !strcasecmp(pattern + 1, name);
  return !strcasecmp(pattern, name);
}

static int on_server_name(SSL *ssl, int *alert, void *arg) {
  (void)alert;
  pt_tls_context *c = arg;
  const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  for (unsigned i = 0; name && i < c->nothers; i++)
    if (matches(c->others[i].name, name)) {
      SSL_set_SSL_CTX(ssl, c->others[i].ssl);
      return SSL_TLSEXT_ERR_OK;
    }
  return SSL_TLSEXT_ERR_NOACK; /* the certificate for everybody */
}

static int add_names(job *j, pt_tls_context *c) {
  const pt_tls_options *o = j->o;
  if (!o->nnames)
    return 0;
  c->others = calloc(o->nnames, sizeof *c->others);
  for (unsigned i = 0; c->others && i < o->nnames; i++) {
    char why[512];
    job other = {.o = o, .err = why, .errsize = sizeof why, .warn = j->warn, .warnsize = j->warnsize};
    c->others[i].name = strdup(o->names[i].name);
    other.expires = j->expires;
    c->others[i].ssl = make(&other, o->names[i].cert, o->names[i].key);
    j->expires = other.expires;
    c->nothers++;
    if (!c->others[i].ssl)
      return fail(j, "sni[\"%s\"].%s", o->names[i].name, why);
    if (!c->others[i].name)
      return fail(j, "out of memory");
  }
  if (!c->others)
    return fail(j, "out of memory");
  SSL_CTX_set_tlsext_servername_callback(c->ssl, on_server_name);
  SSL_CTX_set_tlsext_servername_arg(c->ssl, c);
  return 0;
}

/* ---- life ---- */

pt_tls_context *pt_tls_context_new(const pt_tls_options *o, char *err, size_t errsize, char *warn, size_t warnsize) {
  job j = {.o = o, .err = err, .errsize = errsize, .warn = warn, .warnsize = warnsize};
  pt_tls_context *c = calloc(1, sizeof *c);
  *warn = 0;
  if (!c) {
    fail(&j, "out of memory");
    return NULL;
  }
  atomic_init(&c->refs, 1);
  pthread_mutex_init(&c->lock, NULL);
  c->server = o->server;
  c->patience = o->handshake_timeout;
  if (o->server_name && !(c->server_name = strdup(o->server_name)))
    fail(&j, "out of memory");
  else if ((c->ssl = make(&j, o->cert, o->key)) && !add_names(&j, c)) {
    c->expires = j.expires;
    return c;
  }
  pt_tls_context_unref(c);
  return NULL;
}

pt_tls_context *pt_tls_context_ref(pt_tls_context *c) {
  atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
  return c;
}

void pt_tls_context_unref(pt_tls_context *c) {
  if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
    return;
  for (unsigned i = 0; i < PT_TLS_KEPT; i++) {
    SSL_SESSION_free(c->kept[i].session);
    free(c->kept[i].name);
  }
  for (unsigned i = 0; i < c->nothers; i++) {
    free(c->others[i].name);
    SSL_CTX_free(c->others[i].ssl);
  }
  free(c->others);
  free(c->server_name);
  SSL_CTX_free(c->ssl);
  pthread_mutex_destroy(&c->lock);
  free(c);
}

int64_t pt_tls_context_expires(const pt_tls_context *c) { return c->expires; }
uint64_t pt_tls_context_patience(const pt_tls_context *c) { return c->patience; }

void pt_tls_context_inherit(pt_tls_context *is, const pt_tls_context *was) {
  unsigned char keys[TICKET_KEYS];
  if (SSL_CTX_get_tlsext_ticket_keys(was->ssl, keys, sizeof keys) == 1)
    SSL_CTX_set_tlsext_ticket_keys(is->ssl, keys, sizeof keys);
  OPENSSL_cleanse(keys, sizeof keys);
  ERR_clear_error();
}

/* ---- sessions to be resumed ---- */

static pt_tls_kept *find(pt_tls_context *c, const char *peer, const char *name) {
  for (unsigned i = 0; i < PT_TLS_KEPT; i++)
    if (c->kept[i].session && !strcmp(c->kept[i].peer, peer) && !strcmp(c->kept[i].name, name))
      return &c->kept[i];
  return NULL;
}

SSL_SESSION *pt_tls_context_find(pt_tls_context *c, const char *peer, const char *name) {
  pthread_mutex_lock(&c->lock);
  pt_tls_kept *k = find(c, peer, name);
  SSL_SESSION *s = k && SSL_SESSION_is_resumable(k->session) && SSL_SESSION_up_ref(k->session) ? k->session : NULL;
  pthread_mutex_unlock(&c->lock);
  return s;
}

void pt_tls_context_keep(pt_tls_context *c, const char *peer, const char *name, SSL_SESSION *s) {
  pthread_mutex_lock(&c->lock);
  pt_tls_kept *k = find(c, peer, name);
  char *copy = k ? k->name : strdup(name);
  if (!k && copy) {
    k = &c->kept[c->next++ % PT_TLS_KEPT];
    free(k->name);
    k->name = copy;
    memcpy(k->peer, peer, sizeof k->peer);
  }
  SSL_SESSION *old = s;
  if (k) {
    old = k->session;
    k->session = s;
  }
  pthread_mutex_unlock(&c->lock);
  SSL_SESSION_free(old);
}
