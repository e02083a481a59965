#include "net/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/tls_state.h"

enum {
  RECORD = 16 * 1024, /* bytes of a record */
  RECORDS = 64 /* that one read looks at */
};

/* ---- the beginning ---- */

/* Whom the server has to be. 0 or -ENOMEM. */
static int expect(SSL *ssl, const char *name) {
  pt_address a;
  if (!pt_address_parse(&a, name, 0))
    return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) ? 0 : -ENOMEM;
  SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  return SSL_set1_host(ssl, name) && SSL_set_tlsext_host_name(ssl, name) ? 0 : -ENOMEM;
}

static int as_client(pt_tls *t, int fd, const char *name) {
  pt_address a = {.len = sizeof a.in6};
  if (t->ctx->server_name)
    name = t->ctx->server_name;
  if (name && (!(t->name = strdup(name)) || expect(t->ssl, name)))
    return -ENOMEM;
  if (!getpeername(fd, &a.sa, &a.len))
    pt_address_format(&a, t->peer, sizeof t->peer);
  SSL_SESSION *s = pt_tls_context_find(t->ctx, t->peer, name ? name : "");
  if (s) {
    SSL_set_session(t->ssl, s);
    SSL_SESSION_free(s);
  }
  SSL_set_connect_state(t->ssl);
  return 0;
}

pt_tls *pt_tls_new(pt_tls_context *c, int fd, const char *name) {
  pt_tls *t = calloc(1, sizeof *t);
  if (!t)
    return NULL;
  t->ctx = pt_tls_context_ref(c);
  t->ssl = SSL_new(c->ssl);
  t->waits[PT_TLS_HANDSHAKE] = t->waits[PT_TLS_READ] = POLLIN;
  t->waits[PT_TLS_WRITE] = POLLOUT;
  if (!t->ssl || !SSL_set_fd(t->ssl, fd))
    goto fail;
  SSL_set_app_data(t->ssl, t);
  if (c->server)
    SSL_set_accept_state(t->ssl);
  else if (as_client(t, fd, name))
    goto fail;
  return t;
fail:
  ERR_clear_error();
  pt_tls_free(t);
  return NULL;
}

void pt_tls_free(pt_tls *t) {
  if (!t)
    return;
  SSL_free(t->ssl);
  free(t->owed);
  free(t->name);
  pt_tls_context_unref(t->ctx);
  free(t);
}

/* ---- what has become of a call ---- */

static int fail(pt_tls *t, int e, const char *why) {
  t->failed = e;
  if (why)
    snprintf(t->why, sizeof t->why, "%s", why);
  return e;
}

/* 0: the peer has ended its side. */
static int failure(pt_tls *t, int r, pt_tls_act act) {
  int system = errno;
  switch (SSL_get_error(t->ssl, r)) {
  case SSL_ERROR_WANT_READ:
    t->waits[act] = POLLIN;
    return -EAGAIN;
  case SSL_ERROR_WANT_WRITE:
    t->waits[act] = POLLOUT;
    return -EAGAIN;
  case SSL_ERROR_ZERO_RETURN:
    break;
  case SSL_ERROR_SYSCALL:
    if (system && system != ECONNRESET && system != EPIPE)
      return fail(t, -system, strerror(system));
    if (t->open && system)
      return fail(t, -system, "it closed the connection");
    break;
  default:
    pt_tls_explain(t->ssl, t->why);
    return fail(t, -EPROTO, NULL);
  }
  if (!t->open)
    return fail(t, -ECONNRESET, "it closed the connection in the middle of the TLS handshake");
  t->ended = true;
  return 0;
}

int pt_tls_handshake(pt_tls *t) {
  if (t->failed || t->open)
    return t->failed;
  ERR_clear_error();
  errno = 0;
  int r = SSL_do_handshake(t->ssl);
  if (r != 1)
    return failure(t, r, PT_TLS_HANDSHAKE);
  t->open = true;
  t->more = SSL_has_pending(t->ssl);
  return 0;
}

/* ---- bytes ---- */

/* Another read may ask the socket for more only when something is left of the last one: else it would ask in vain, mostly. */
ssize_t pt_tls_read(pt_tls *t, void *out, size_t n) {
  size_t got = 0, one;
  t->more = false;
  if (t->failed || t->ended)
    return t->failed;
  if (!t->open)
    return -EAGAIN;
  for (unsigned records = 0; records < RECORDS && got < n && (!got || SSL_has_pending(t->ssl)); records++) {
    ERR_clear_error();
    errno = 0;
    int r = SSL_read_ex(t->ssl, (uint8_t *)out + got, n - got, &one);
    if (!r) {
      int e = failure(t, r, PT_TLS_READ);
      t->more = got && e != -EAGAIN; /* the next read tells */
      return got ? (ssize_t)got : e;
    }
    got += one;
  }
  t->waits[PT_TLS_READ] = POLLIN;
  t->more = SSL_has_pending(t->ssl);
  return (ssize_t)got;
}

bool pt_tls_resumed(const pt_tls *t) { return t->open && SSL_session_reused(t->ssl); }

bool pt_tls_pending(const pt_tls *t) { return t->more; }

/* Writes what is owed. */
static int put(pt_tls *t) {
  size_t n;
  ERR_clear_error();
  errno = 0;
  int r = SSL_write_ex(t->ssl, t->owed, t->nowed, &n);
  if (!r) {
    int e = failure(t, r, PT_TLS_WRITE);
    return e ? e : fail(t, -EPIPE, "it closed the connection");
  }
  t->waits[PT_TLS_WRITE] = POLLOUT;
  free(t->owed);
  t->owed = NULL;
  return 0;
}

/* len bytes from skip on. */
static void gather(const struct iovec *iov, size_t skip, uint8_t *out, size_t len) {
  for (; len; iov++) {
    if (skip >= iov->iov_len) {
      skip -= iov->iov_len;
      continue;
    }
    size_t n = iov->iov_len - skip < len ? iov->iov_len - skip : len;
    memcpy(out, (const uint8_t *)iov->iov_base + skip, n);
    out += n;
    len -= n;
    skip = 0;
  }
}

ssize_t pt_tls_write(pt_tls *t, const struct iovec *iov, unsigned n) {
  size_t total = 0, done = 0;
  if (t->failed)
    return t->failed;
  if (!t->open)
    return -EAGAIN;
  for (unsigned i = 0; i < n; i++)
    total += iov[i].iov_len;
  if (t->owed) {
    int e = put(t);
    if (e)
      return e;
    done = 1; /* the byte that counted as not taken */
  }
  while (done < total) {
    size_t len = total - done < RECORD ? total - done : RECORD;
    if (!(t->owed = malloc(len)))
      return done ? (ssize_t)done : -ENOMEM;
    gather(iov, done, t->owed, len);
    t->nowed = (uint32_t)len;
    int e = put(t);
    if (e && e != -EAGAIN)
      return e;
    done += e ? len - 1 : len;
    if (e)
      break;
  }
  return done || !total ? (ssize_t)done : -EAGAIN;
}

int pt_tls_waits(const pt_tls *t, pt_tls_act act) { return t->waits[act]; }

void pt_tls_end(pt_tls *t) {
  if (!t->open || t->failed || t->owed)
    return;
  SSL_shutdown(t->ssl);
  ERR_clear_error();
}

const char *pt_tls_why(const pt_tls *t) { return t->why; }
