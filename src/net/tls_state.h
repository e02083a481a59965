/* What the files net/tls*.c share, and nobody else. */
#ifndef PT_NET_TLS_STATE_H
#define PT_NET_TLS_STATE_H

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "net/address.h"
#include "net/tls.h"

enum {
  PT_TLS_KEPT = 64 /* sessions a client's context keeps */
};

/* A session to be resumed with the peer at an address, under a name. */
typedef struct pt_tls_kept {
  char peer[PT_ADDRESS_TEXT];
  char *name;
  SSL_SESSION *session;
} pt_tls_kept;

struct pt_tls_context {
  atomic_uint refs;
  SSL_CTX *ssl;
  bool server;
  uint64_t patience;
  int64_t expires;
  char *server_name;
  struct pt_tls_other {
    char *name;
    SSL_CTX *ssl;
  } * others; /* by SNI */
  unsigned nothers;
  pthread_mutex_t lock; /* held for moments; guards what follows */
  pt_tls_kept kept[PT_TLS_KEPT];
  unsigned next; /* to be replaced */
};

struct pt_tls {
  SSL *ssl;
  pt_tls_context *ctx;
  bool open, ended, more;
  uint8_t waits[3]; /* poll events, by pt_tls_act */
  int failed; /* -errno, 0: it has not */
  uint8_t *owed; /* a record that the socket has not taken whole; the memory is OpenSSL's to read until then */
  uint32_t nowed;
  char *name; /* a client's: whom it has asked for; NULL: nobody by name */
  char peer[PT_ADDRESS_TEXT];
  char why[PT_TLS_WHY];
};

/* The session kept for a peer (one reference), NULL: none; and the reverse, which takes the reference over. */
SSL_SESSION *pt_tls_context_find(pt_tls_context *c, const char *peer, const char *name);
void pt_tls_context_keep(pt_tls_context *c, const char *peer, const char *name, SSL_SESSION *s);

/* The last error of OpenSSL in this thread, in words; "" when there is none. ssl NULL: no session has it. Empties the queue. */
void pt_tls_explain(const SSL *ssl, char out[PT_TLS_WHY]);

#endif
