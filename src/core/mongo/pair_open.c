/* From a placed client to a backend that can be talked to: connect, PROXY header, the client's hello said again. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "core/mongo/pair_state.h"
#include "wire/proxy_header.h"

static void on_backend(struct ev_loop *loop, ev_io *io, int events);
static size_t proxy_header(pt_mongo_client *c, uint8_t out[PT_PROXY_MAX]);

/* TLS to the backend, when the listener has it; the PROXY header comes before. 0 or -ENOMEM. */
static int secure(pt_mongo_client *c, const pt_backend *b) {
  pt_tls_context *tls = c->mongo->lc->backend_tls;
  uint8_t header[PT_PROXY_MAX];
  char host[sizeof b->name];
  if (!tls)
    return 0;
  size_t n = c->mongo->mc->proxy_send == PT_PROXY_OFF ? 0 : proxy_header(c, header);
  return pt_conn_connect_tls(&c->pair->conn, c->mongo->worker->loop, tls, pt_backend_host(b->name, host), header, n);
}

void pt_pair_open(pt_mongo_client *c, uint32_t except) {
  pt_pair *p = c->pair;
  pt_mongo *m = c->mongo;
  for (;;) {
    bool more = m->backends && p->tries < 2 * m->backends->n; /* one avoided for a while may come round again */
    int i = more ? pt_place_connection(c, except) : -1;
    if (i < 0) {
      p->tries = 0;
      pt_pair_refuse(c);
      return;
    }
    p->tries++;
    const pt_backend *b = &m->backends->at[i];
    p->epoch = b->epoch;
    p->meter = pt_meter_node(&m->meter, b->name);
    int fd = b->address.len ? pt_connect(&b->address) : -EHOSTUNREACH;
    if (fd >= 0) {
      pt_conn_open(&p->conn, m->worker->loop, fd, EV_WRITE, on_backend, c);
      p->state = PT_PAIR_CONNECTING;
      p->opened = m->worker->now;
      if (secure(c, b)) {
        pt_mongo_client_fail(c, PT_E_MEMORY, "out of memory");
        return;
      }
      pt_pair_look(c);
      pt_pair_watch(c);
      return;
    }
    if (pt_connect_ours(fd)) { /* nor would it be better elsewhere */
      p->tries = 0;
      pt_pair_detach(c);
      pt_pair_refuse(c);
      return;
    }
    pt_place_failed(m, (unsigned)i, b->address.len ? strerror(-fd) : "its name is not resolved");
    except = b->id;
    pt_pair_detach(c);
  }
}

void pt_pair_failed(pt_mongo_client *c, const char *why) {
  pt_mongo *m = c->mongo;
  uint32_t except = c->backend;
  int i = m->backends ? pt_backends_index(m->backends, except) : -1;
  if (i >= 0)
    pt_place_failed(m, (unsigned)i, why);
  pt_pair_detach(c);
  pt_pair_open(c, except);
}

/* ---- connected ---- */

static size_t proxy_header(pt_mongo_client *c, uint8_t out[PT_PROXY_MAX]) {
  static const uint8_t v4[12] = {[10] = 0xff, [11] = 0xff};
  pt_proxy_header h = {.family = memcmp(c->ip, v4, sizeof v4) ? AF_INET6 : AF_INET, .src_port = c->port};
  pt_address here = {.len = sizeof here.in6};
  bool known = !getsockname(c->conn.io.fd, &here.sa, &here.len) && here.sa.sa_family == h.family;
  if (h.family == AF_INET) {
    memcpy(h.src, c->ip + 12, 4);
    if (known)
      memcpy(h.dst, &here.in.sin_addr, 4);
  } else {
    memcpy(h.src, c->ip, 16);
    if (known)
      memcpy(h.dst, &here.in6.sin6_addr, 16);
  }
  h.dst_port = known ? pt_address_port(&here) : 0;
  return pt_proxy_header_write(&h, c->mongo->mc->proxy_send == PT_PROXY_V1 ? 1 : 2, out);
}

static void greet(pt_mongo_client *c) {
  pt_pair *p = c->pair;
  uint8_t header[PT_PROXY_MAX];
  struct iovec iov[2];
  unsigned n = 0;
  size_t total = 0;
  bool again = p->hello && p->greeted;
  if (c->mongo->mc->proxy_send != PT_PROXY_OFF && !p->conn.tls)
    iov[n++] = (struct iovec){header, proxy_header(c, header)};
  if (again)
    iov[n++] = (struct iovec){p->hello->data, p->hello->fill};
  for (unsigned i = 0; i < n; i++)
    total += iov[i].iov_len;
  ssize_t put = n ? pt_conn_write(&p->conn, iov, n) : 0;
  if (put != (ssize_t)total) { /* a fresh socket's buffer takes these few bytes whole */
    pt_pair_failed(c, put < 0 ? pt_conn_error(&p->conn, (int)put) : "cannot send hello");
    return;
  }
  p->state = PT_PAIR_GREETING;
  if (again)
    pt_pair_watch(c);
  else
    pt_pair_ready(c);
}

void pt_pair_ready(pt_mongo_client *c) {
  pt_pair *p = c->pair;
  uint32_t gen = c->gen;
  p->state = PT_PAIR_READY;
  p->greeted = true;
  c->last = c->mongo->worker->now;
  pt_pair_resume(c);
  if (c->gen == gen)
    pt_pair_watch(c);
}

static void on_backend(struct ev_loop *loop, ev_io *io, int events) {
  (void)loop;
  pt_mongo_client *c = io->data;
  pt_pair *p = c->pair;
  uint32_t gen = c->gen;
  c->mongo->worker->events++;
  if (p->state == PT_PAIR_CONNECTING) {
    int e = pt_conn_connected(&p->conn);
    if (e)
      pt_pair_failed(c, pt_conn_error(&p->conn, e));
    else
      greet(c);
    return;
  }
  if (events & EV_READ)
    pt_pair_backend_readable(c);
  if ((events & EV_WRITE) && c->gen == gen && p->state == PT_PAIR_READY && p->out.bytes)
    pt_pair_backend_writable(c);
}

/* ---- pairs of another process ---- */

static int opens(pt_opens *o, pt_ho_blob b) {
  uint32_t n = b.n / sizeof *o->at;
  if (!n)
    return 0;
  o->at = malloc(n * sizeof *o->at);
  if (!o->at)
    return -ENOMEM;
  memcpy(o->at, b.at, n * sizeof *o->at);
  o->n = o->cap = n;
  return 0;
}

int pt_pair_arrive(pt_mongo_client *c, const pt_ho_pair *h, int fd) {
  pt_pair *p = c->pair = calloc(1, sizeof *p);
  if (!p)
    return -ENOMEM;
  p->conn.io.fd = -1;
  c->state = PT_MC_PAIRED;
  p->movable = h->movable;
  p->worked = h->worked;
  p->sealed = h->sealed;
  p->greeted = true;
  p->compressors = h->compressors;
  p->max_wire = (int32_t)h->max_wire;
  p->epoch = h->epoch;
  p->opened = c->mongo->worker->now;
  p->n = h->nasks;
  for (unsigned i = 0; i < p->n; i++)
    p->asks[i] = (pt_ask){.id = h->asks[i].id,
                          .opcode = h->asks[i].opcode,
                          .verb = h->asks[i].verb,
                          .flags = h->asks[i].flags,
                          .cursor = h->asks[i].cursor,
                          .stamp = c->mongo->worker->now_us};
  p->hello = h->hello.n ? pt_chunk_exact(&c->mongo->worker->pool, h->hello.n) : NULL;
  if ((h->hello.n && !p->hello) || opens(&p->cursors, h->cursors) || opens(&p->txns, h->txns))
    return -ENOMEM;
  if (p->hello)
    memcpy(p->hello->data, h->hello.at, p->hello->fill = h->hello.n);
  const pt_backends *all = c->mongo->backends;
  int at = all ? pt_backends_index(all, c->backend) : -1;
  p->meter = at >= 0 ? pt_meter_node(&c->mongo->meter, all->at[at].name) : NULL;
  p->state = fd < 0 ? PT_PAIR_LOST : PT_PAIR_READY;
  if (fd >= 0)
    pt_conn_open(&p->conn, c->mongo->worker->loop, fd, EV_READ, on_backend, c);
  return 0;
}

/* ---- replies to hello ---- */

/* What names the process behind this connection: its own id, else one made of its name and how often it has come up. */
static int service_id(pt_mongo_client *c, const pt_server_hello *s, uint8_t id[12]) {
  const pt_backends *all = c->mongo->backends;
  uint8_t digest[PT_SHA256];
  int i = all ? pt_backends_index(all, c->backend) : -1;
  if (s->has_topology_version || i < 0) {
    memcpy(id, s->process_id, 12);
    return 0;
  }
  const pt_backend *b = &all->at[i];
  int e = pt_sha256((pt_piece[]){{b->name, strlen(b->name)}, {&b->epoch, sizeof b->epoch}}, 2, digest);
  memcpy(id, digest, 12);
  return e;
}

/* The stream of a monitor goes on at this backend: asked for in its name, by the id that its next reply has to name. */
static int stream_on(pt_mongo_client *c, pt_ask *a, const pt_server_hello *s) {
  bson_t doc = BSON_INITIALIZER, version;
  bson_oid_t process;
  bson_oid_init_from_data(&process, s->process_id);
  BSON_APPEND_INT32(&doc, "hello", 1);
  BSON_APPEND_DOCUMENT_BEGIN(&doc, "topologyVersion", &version);
  BSON_APPEND_OID(&version, "processId", &process);
  BSON_APPEND_INT64(&version, "counter", s->counter);
  bson_append_document_end(&doc, &version);
  BSON_APPEND_INT64(&doc, "maxAwaitTimeMS", a->cursor);
  BSON_APPEND_UTF8(&doc, "$db", "admin");
  int e = pt_mongo_answer(&c->pair->out, &c->mongo->worker->pool, PT_OP_MSG, a->id, 0, PT_MSG_EXHAUST, &doc);
  bson_destroy(&doc);
  return e;
}

/* Gives the document of a reply to the hello that waits: in the opcode of its request, in the chain of its stream. */
static int answer_waiting(pt_mongo_client *c, const pt_mongo_message *m, const pt_server_hello *s) {
  pt_pair *p = c->pair;
  pt_ask *a = pt_pair_ask(p, 0);
  bson_t doc;
  bool more = (a->flags & PT_ASK_EXHAUST) && a->cursor > 0 && s->has_topology_version;
  if (!bson_init_static(&doc, m->body, m->body_len))
    return -EPROTO;
  int e = pt_mongo_answer(&c->out, &c->mongo->worker->pool, a->opcode, m->h.request_id, a->id, more ? PT_MSG_MORE : 0, &doc);
  if (e)
    return e;
  a->id = m->h.request_id;
  if (more)
    return stream_on(c, a, s);
  pt_pair_answered(p);
  return 0;
}

int pt_pair_hello_reply(pt_mongo_client *c, const uint8_t *bytes, uint32_t n) {
  pt_pair *p = c->pair;
  pt_mongo_message m;
  pt_server_hello s;
  pt_mongo_header h;
  const char *why = NULL;
  uint8_t id[12];
  if (n < PT_MONGO_HEADER)
    return 0;
  bool again = p->state == PT_PAIR_GREETING, bad = pt_mongo_header_read(&h, bytes, PT_MONGO_MAX_HELLO, &why);
  if (!bad && n < h.length)
    return 0;
  bad = bad || pt_mongo_parse(&m, bytes, h.length, PT_MONGO_MAX_HELLO, &why) != PT_MONGO_OK || !m.body ||
        pt_server_hello_read(&s, &m, &why) || !s.ok;
  uint32_t gen = c->gen;
  int e = 0;
  if (bad) {
    p->first &= again; /* what is no good hello passes as it is */
    return again ? -EPROTO : 0;
  }
  if (p->first) {
    p->compressors = s.compressors;
    p->max_wire = s.max_wire;
  } else if ((p->compressors & ~s.compressors) || s.max_wire < p->max_wire) {
    return -ENOTSUP;
  }
  p->first = false;
  if (!again && !(c->flags & PT_MC_LOAD_BALANCED))
    return 0;
  if (!again) {
    e = service_id(c, &s, id);
    e = e ? e : pt_hello_add_service(&c->out, &c->mongo->worker->pool, bytes, h.length, id);
    if (!e && p->n)
      pt_pair_answered(p);
  } else if (pt_pair_only_hello(p)) {
    e = answer_waiting(c, &m, &s);
  }
  if (e)
    return e;
  pt_mongo_client_flush(c);
  if (again && c->gen == gen)
    pt_pair_ready(c);
  return (int)h.length;
}
