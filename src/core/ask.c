#include "core/ask.h"

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

enum {
  MAX_ADDRESSES = 8,
  MAX_NODES_OF_TREE = 1 << 20,
  FIRST_BUFFER = 16 * 1024
};

typedef struct talk {
  int fd, cancel;
  pt_tls *tls; /* NULL: plain */
  uint64_t deadline; /* ms */
  uint8_t *buf; /* the last reply */
  size_t n, cap;
  char *err;
  size_t errsize;
} talk;

static __attribute__((format(printf, 3, 4))) int fail(talk *t, int e, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  vsnprintf(t->err, t->errsize, fmt, args);
  va_end(args);
  return e;
}

static int fail_errno(talk *t, int e) {
  if (t->tls && *pt_tls_why(t->tls))
    return fail(t, e, "%s", pt_tls_why(t->tls));
  if (e == -ETIMEDOUT)
    return fail(t, e, "%s", t->n ? "no whole answer in time" : "no answer in time");
  const char *text = strerrordesc_np(-e);
  fail(t, e, "%s", text ? text : "unknown error");
  t->err[0] = (char)tolower(t->err[0]);
  return e;
}

/* What the node said, at most a line of 120 bytes. */
static int fail_said(talk *t, int e, const char *what) {
  size_t n = 0;
  while (n < t->n && n < 120 && t->buf[n] != '\r')
    n++;
  return fail(t, e, "%s%.*s", what, (int)n - 1, (const char *)t->buf + 1);
}

/* ---- bytes ---- */

/* 0 when the socket is ready (or broken: the next call tells), -ETIMEDOUT at the time given, -ECANCELED. */
static int wait_for(talk *t, short events, uint64_t until) {
  struct pollfd p[2] = {{.fd = t->fd, .events = events}, {.fd = t->cancel, .events = POLLIN}};
  for (;;) {
    uint64_t now = pt_now_ms();
    if (now >= until)
      return -ETIMEDOUT;
    int n = poll(p, 2, (int)(until - now));
    if (n < 0 && errno != EINTR)
      return -errno;
    if (n > 0)
      return p[1].revents ? -ECANCELED : 0;
  }
}

/* As send and recv, with -errno; for -EAGAIN *events is what to wait for. */
static ssize_t put(talk *t, const char *bytes, size_t n, short *events) {
  struct iovec iov = {(char *)bytes, n};
  ssize_t done = t->tls ? pt_tls_write(t->tls, &iov, 1) : send(t->fd, bytes, n, MSG_NOSIGNAL);
  *events = t->tls ? (short)pt_tls_waits(t->tls, PT_TLS_WRITE) : POLLOUT;
  return t->tls || done >= 0 ? done : errno == EINTR ? 0 : -errno;
}

static ssize_t get(talk *t, uint8_t *out, size_t n, short *events) {
  ssize_t got;
  *events = POLLIN;
  if (!t->tls) {
    do
      got = recv(t->fd, out, n, 0);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
  }
  got = pt_tls_read(t->tls, out, n);
  *events = (short)pt_tls_waits(t->tls, PT_TLS_READ);
  return got;
}

static int secure(talk *t, pt_tls_context *tls, const char *name) {
  int e = -EAGAIN;
  if (!(t->tls = pt_tls_new(tls, t->fd, name)))
    return fail(t, -ENOMEM, "out of memory");
  while ((e = pt_tls_handshake(t->tls)) == -EAGAIN)
    if ((e = wait_for(t, (short)pt_tls_waits(t->tls, PT_TLS_HANDSHAKE), t->deadline)))
      break;
  if (e == -ETIMEDOUT)
    return fail(t, e, "no answer to TLS in time: a plain port?");
  return e ? fail_errno(t, e) : 0;
}

/* Tries the addresses in turn, each with its share of the time left. */
static int dial(talk *t, const pt_address *a, unsigned n, pt_address *from) {
  int e = -ETIMEDOUT;
  for (unsigned i = 0; i < n; i++) {
    uint64_t now = pt_now_ms();
    if (now >= t->deadline)
      break;
    if ((e = t->fd = pt_connect(&a[i])) < 0)
      continue;
    e = wait_for(t, POLLOUT, now + (t->deadline - now) / (n - i));
    if (!e && !(e = pt_connect_error(t->fd))) {
      *from = a[i];
      return 0;
    }
    close(t->fd);
    t->fd = -1;
    if (e == -ECANCELED)
      break;
  }
  return fail_errno(t, e);
}

static int send_all(talk *t, const char *bytes, size_t n) {
  while (n) {
    short events;
    ssize_t done = put(t, bytes, n, &events);
    int e = done >= 0 ? 0 : done == -EAGAIN ? wait_for(t, events, t->deadline) : (int)done;
    if (e)
      return fail_errno(t, e);
    if (done > 0) {
      bytes += done;
      n -= (size_t)done;
    }
  }
  return 0;
}

static int grow(talk *t) {
  size_t cap = t->cap ? 2 * t->cap : FIRST_BUFFER;
  if (t->cap >= PT_ASK_MAX_REPLY)
    return fail(t, -EMSGSIZE, "its answer is larger than %d MiB", PT_ASK_MAX_REPLY >> 20);
  uint8_t *buf = realloc(t->buf, cap);
  if (!buf)
    return fail(t, -ENOMEM, "out of memory");
  t->buf = buf;
  t->cap = cap;
  return 0;
}

/* Reads one reply into buf[0..n). */
static int read_reply(talk *t) {
  pt_reply scan = {0};
  size_t at = 0, used;
  t->n = 0;
  for (;;) {
    int e = 0;
    short events;
    if (t->n == t->cap && (e = grow(t)))
      return e;
    ssize_t got = get(t, t->buf + t->n, t->cap - t->n, &events);
    if (got == -EAGAIN && !(e = wait_for(t, events, t->deadline)))
      continue;
    if (got < 0)
      return fail_errno(t, got == -EAGAIN ? e : (int)got);
    if (got == 0)
      return fail(t, -ECONNRESET, "it closed the connection");
    t->n += (size_t)got;
    int found = pt_reply_scan(&scan, t->buf + at, t->n - at, &used);
    if (found == PT_RESP_BAD)
      break;
    at += used;
    if (found == PT_RESP_MORE)
      continue;
    if (at < t->n) /* more than was asked for */
      break;
    return 0;
  }
  return fail(t, -EPROTO, "not a Redis server");
}

/* Sends a command of up to three words and reads its reply. */
static int command(talk *t, const char *a, const char *b, const char *c) {
  char *words = NULL;
  int n = c ? asprintf(&words, "*3\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n", strlen(a), a, strlen(b), b, strlen(c), c)
            : asprintf(&words, "*2\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n", strlen(a), a, strlen(b), b);
  if (n < 0)
    return fail(t, -ENOMEM, "out of memory");
  t->n = 0;
  int e = send_all(t, words, (size_t)n);
  explicit_bzero(words, (size_t)n);
  free(words);
  return e ? e : read_reply(t);
}

/* ---- what is said ---- */

/* The reply is an error with this text in it. */
static int said(const talk *t, const char *text) { return t->n && t->buf[0] == '-' && memmem(t->buf, t->n, text, strlen(text)); }

/* The reply is never quoted here: an error about an unknown command repeats its arguments, the password among them. */
static int fail_login(talk *t) {
  static const struct {
    const char *text, *reason;
  } known[] = {
      {"WRONGPASS", "wrong user or password"},
      {"invalid password", "wrong user or password"},
      {"max number of clients", "it has all the clients it allows"},
      {"DENIED", "its protected mode refuses us"},
      {"", "AUTH refused"},
  };
  unsigned i = 0;
  while (!said(t, known[i].text))
    i++;
  return fail(t, -EACCES, "%s", known[i].reason);
}

static int login(talk *t, const pt_listener_config *lc) {
  if (!lc->backend_password)
    return 0;
  int e = lc->backend_user ? command(t, "AUTH", lc->backend_user, lc->backend_password)
                           : command(t, "AUTH", lc->backend_password, NULL);
  if (e)
    return e;
  if (said(t, "no password is set") || said(t, "without any password configured"))
    return 0; /* not yet: passwords come to the clients first */
  if (t->buf[0] == '-')
    return fail_login(t);
  return t->buf[0] == '+' ? 0 : fail(t, -EPROTO, "not a Redis server");
}

static int ask_view(talk *t) {
  int e = command(t, "CLUSTER", "SHARDS", NULL);
  if (!e && (said(t, "nknown subcommand") || said(t, "wrong number of arguments")))
    e = command(t, "CLUSTER", "SLOTS", NULL);
  if (e)
    return e;
  if (said(t, "cluster support disabled"))
    return fail(t, -EPROTO, "cluster mode is off there");
  if (said(t, "NOAUTH"))
    return fail(t, -EACCES, "it asks for a password and none is configured");
  return t->buf[0] == '-' ? fail_said(t, -EPROTO, "it says: ") : 0;
}

static int parse_view(talk *t, const pt_listener_config *lc, const pt_address *from, pt_cluster **out) {
  char host[PT_ADDRESS_TEXT];
  pt_hostport asked = {pt_address_host(from, host, sizeof host), pt_address_port(from)};
  size_t max = t->n / 3 + 1; /* no value has fewer than three bytes */
  if (max > MAX_NODES_OF_TREE)
    max = MAX_NODES_OF_TREE;
  pt_node *pool = malloc(max * sizeof *pool);
  if (!pool)
    return fail(t, -ENOMEM, "out of memory");
  pt_node *tree = pt_reply_tree(t->buf, t->n, pool, max);
  if (!tree)
    fail(t, 0, "its answer has too many values");
  *out = tree ? pt_cluster_parse(tree, &asked, lc->backend_tls, lc->remap, lc->nremap, t->err, t->errsize) : NULL;
  free(pool);
  return *out ? 0 : -EPROTO;
}

int pt_ask_cluster(const pt_listener_config *lc, const char *host, uint16_t port, const char *name, int cancel, pt_cluster **out,
                   pt_address *from, char *err, size_t errsize) {
  talk t = {.fd = -1, .cancel = cancel, .err = err, .errsize = errsize};
  pt_address found[MAX_ADDRESSES];
  unsigned n = pt_ask_resolve(host, port, found, MAX_ADDRESSES, err, errsize);
  if (!n)
    return -EHOSTUNREACH;
  t.deadline = pt_now_ms() + lc->connect_timeout;
  int e = dial(&t, found, n, from);
  if (!e && lc->backend_tls)
    e = secure(&t, lc->backend_tls, name);
  if (!e)
    e = login(&t, lc);
  if (!e)
    e = ask_view(&t);
  if (!e)
    e = parse_view(&t, lc, from, out);
  if (t.tls)
    pt_tls_end(t.tls);
  pt_tls_free(t.tls);
  if (t.fd >= 0)
    close(t.fd);
  free(t.buf);
  return e;
}

unsigned pt_ask_resolve(const char *host, uint16_t port, pt_address *out, unsigned max, char *err, size_t errsize) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
  unsigned n = 0;
  if (max && !pt_address_parse(out, host, port))
    return 1;
  int e = getaddrinfo(host, NULL, &hints, &list);
  if (e) {
    snprintf(err, errsize, "its name does not resolve: %s", e == EAI_SYSTEM ? strerrordesc_np(errno) : gai_strerror(e));
    return 0;
  }
  for (const struct addrinfo *i = list; i && n < max; i = i->ai_next) {
    if ((i->ai_family != AF_INET && i->ai_family != AF_INET6) || i->ai_addrlen > sizeof out->in6)
      continue;
    memset(&out[n], 0, sizeof out[n]);
    memcpy(&out[n].sa, i->ai_addr, i->ai_addrlen);
    out[n].len = i->ai_addrlen;
    if (i->ai_family == AF_INET6)
      out[n].in6.sin6_port = htons(port);
    else
      out[n].in.sin_port = htons(port);
    n++;
  }
  freeaddrinfo(list);
  if (!n)
    snprintf(err, errsize, "its name has no address");
  return n;
}
