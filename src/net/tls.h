/* TLS over OpenSSL 3: contexts, made of files once, and sessions over nonblocking sockets.
 *
 * A context is immutable, reference counted and used by all threads: its sessions hold it, so that certificates can be replaced (by a new context)
 * under connections that live on. A session belongs to one thread. No renegotiation, no compression; kernel TLS where the kernel has it; sessions are
 * resumed (a server's by tickets, whose keys all threads share; a client's are kept in its context, by peer).
 *
 * What is returned is as of sockets: 0 or bytes, -EAGAIN, -errno. -EPROTO is an error of TLS; pt_tls_why tells in words what it was.
 */
#ifndef PT_NET_TLS_H
#define PT_NET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

enum {
  PT_TLS_WHY = 128 /* holds every reason, NUL included */
};

typedef enum pt_tls_verify {
  PT_TLS_VERIFY_NONE,
  PT_TLS_VERIFY_OPTIONAL, /* a certificate that is shown has to be good */
  PT_TLS_VERIFY_REQUIRED
} pt_tls_verify;

/* A server's other certificate, for clients that ask for this name (SNI): "db.example.com", "*.example.com". */
typedef struct pt_tls_name {
  char *name, *cert, *key;
} pt_tls_name;

/* What a context is made of; files are PEM. Strings are owned by the options. */
typedef struct pt_tls_options {
  char *where; /* file:line, for messages */
  bool server;
  char *cert, *key; /* ours; a client may have none */
  char *ca; /* whom peers' certificates have to come from; NULL: those the system trusts */
  pt_tls_verify verify;
  char *server_name; /* of a client: what servers are asked for and have to be; NULL: the name they are reached by */
  bool tls13; /* nothing older; else TLS 1.2 too */
  char *ciphers, *ciphersuites; /* of TLS 1.2, of TLS 1.3; NULL: OpenSSL's */
  bool tickets; /* of a server: sessions can be resumed */
  uint64_t handshake_timeout; /* ms, of a server */
  pt_tls_name *names;
  unsigned nnames;
} pt_tls_options;

void pt_tls_options_free(pt_tls_options *o); /* NULL is allowed */

typedef struct pt_tls_context pt_tls_context;

/* Reads the files. NULL: err says why, as 'key: /etc/key.pem: ...'. What should be looked at, though it works, comes to warn, "" if nothing. */
pt_tls_context *pt_tls_context_new(const pt_tls_options *o, char *err, size_t errsize, char *warn, size_t warnsize);
pt_tls_context *pt_tls_context_ref(pt_tls_context *c);
void pt_tls_context_unref(pt_tls_context *c); /* NULL is allowed */
/* Tickets that was has given stay good in is, when both trust the same. Before is is shared. */
void pt_tls_context_inherit(pt_tls_context *is, const pt_tls_context *was);
/* When our certificate ends, seconds since 1970; 0: there is none. The earliest, when there are several. */
int64_t pt_tls_context_expires(const pt_tls_context *c);
/* How long a handshake may take, ms. */
uint64_t pt_tls_context_patience(const pt_tls_context *c);

typedef struct pt_tls pt_tls;

/* A session over a connected socket, which stays the caller's. name: by which the server is reached (a client's). NULL: no memory. */
pt_tls *pt_tls_new(pt_tls_context *c, int fd, const char *name);
/* 0: done; -EAGAIN: see pt_tls_waits. Nothing is read or written before it is done. */
int pt_tls_handshake(pt_tls *t);
/* Bytes read (> 0), 0: the peer has ended its side. */
ssize_t pt_tls_read(pt_tls *t, void *out, size_t n);
/* Bytes taken (> 0). While a record is not out whole its last byte counts as not taken, so that whoever sends goes on waiting. What follows must
 * begin with the bytes not taken. */
ssize_t pt_tls_write(pt_tls *t, const struct iovec *iov, unsigned n);
/* The handshake was short: a session was resumed. */
bool pt_tls_resumed(const pt_tls *t);
/* The next read returns something though the socket may have nothing. */
bool pt_tls_pending(const pt_tls *t);
/* What the socket has to be ready for (POLLIN or POLLOUT) after a handshake, a read or a write said -EAGAIN. */
typedef enum pt_tls_act {
  PT_TLS_HANDSHAKE,
  PT_TLS_READ,
  PT_TLS_WRITE
} pt_tls_act;
int pt_tls_waits(const pt_tls *t, pt_tls_act act);
/* Tells the peer that no more bytes come; reading goes on. As far as the socket takes it. */
void pt_tls_end(pt_tls *t);
/* What has failed for good, in words for logs; "" if nothing has. */
const char *pt_tls_why(const pt_tls *t);
void pt_tls_free(pt_tls *t); /* NULL is allowed */

#endif
