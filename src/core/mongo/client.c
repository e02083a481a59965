/* Clients up to the point where a way of forwarding takes them over: accepted, their PROXY header, their first message. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "core/admit.h"
#include "core/mongo/mongo.h"
#include "core/mongo/pair.h"
#include "core/mongo/request.h"
#include "core/told.h"
#include "wire/mongo_command.h"
#include "wire/proxy_header.h"

char *pt_mongo_client_where(const pt_mongo_client *c, char out[PT_ADDRESS_TEXT]) {
  static const uint8_t v4[12] = {[10] = 0xff, [11] = 0xff};
  pt_address a = {0};
  if (!memcmp(c->ip, v4, sizeof v4)) {
    a.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(c->port)};
    memcpy(&a.in.sin_addr, c->ip + 12, 4);
    a.len = sizeof a.in;
  } else {
    a.in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(c->port)};
    memcpy(&a.in6.sin6_addr, c->ip, 16);
    a.len = sizeof a.in6;
  }
  return pt_address_format(&a, out, PT_ADDRESS_TEXT);
}

static void set_source(pt_mongo_client *c, int family, const void *ip, uint16_t port) {
  memset(c->ip, 0, sizeof c->ip);
  if (family == AF_INET) {
    c->ip[10] = c->ip[11] = 0xff;
    memcpy(c->ip + 12, ip, 4);
  } else {
    memcpy(c->ip, ip, 16);
  }
  c->port = port;
}

/* ---- opening and closing ---- */

static int more_clients(pt_mongo *m) {
  if (m->nclients % (PT_CLIENT_BLOCK * 64) == 0) {
    pt_mongo_client **more = realloc(m->clients, (m->nclients / PT_CLIENT_BLOCK + 64) * sizeof *more);
    if (!more)
      return -ENOMEM;
    m->clients = more;
  }
  pt_mongo_client *block = calloc(PT_CLIENT_BLOCK, sizeof *block);
  if (!block)
    return -ENOMEM;
  m->clients[m->nclients / PT_CLIENT_BLOCK] = block;
  for (unsigned i = PT_CLIENT_BLOCK; i-- > 0;) {
    block[i].index = m->nclients + i;
    block[i].conn.io.fd = -1;
    block[i].next = m->free_client;
    m->free_client = m->nclients + i + 1;
  }
  m->nclients += PT_CLIENT_BLOCK;
  return 0;
}

static void on_io(struct ev_loop *loop, ev_io *io, int events);

/* TLS begins with the next byte, when the listener has it. */
static void secure(pt_mongo_client *c) {
  pt_worker *w = c->mongo->worker;
  if (c->mongo->lc->tls && pt_conn_accept_tls(&c->conn, w->loop, c->mongo->lc->tls, &w->hall))
    pt_mongo_client_fail(c, PT_E_MEMORY, "out of memory");
}

static pt_mongo_client *client_new(pt_mongo *m, int fd, uint64_t id, pt_source *source) {
  if (!m->free_client && more_clients(m))
    return NULL;
  pt_mongo_client *c = pt_mongo_client_at(m, m->free_client - 1);
  m->free_client = c->next;
  *c = (pt_mongo_client){.index = c->index,
                         .gen = c->gen + 1,
                         .mongo = m,
                         .id = id,
                         .source = source,
                         .since = m->worker->now,
                         .last = m->worker->now,
                         .backend = PT_BACKEND_NONE,
                         .state = PT_MC_FIRST};
  pt_conn_open(&c->conn, m->worker->loop, fd, EV_READ, on_io, c);
  pt_count(&m->meter.accepted);
  return c;
}

int pt_mongo_client_open(pt_mongo *m, int fd, const pt_address *from, uint64_t id, pt_source *source) {
  pt_mongo_client *c = client_new(m, fd, id, source);
  if (!c)
    return -ENOMEM;
  if (from->sa.sa_family == AF_INET)
    set_source(c, AF_INET, &from->in.sin_addr, ntohs(from->in.sin_port));
  else
    set_source(c, AF_INET6, &from->in6.sin6_addr, ntohs(from->in6.sin6_port));
  if (pt_cidr_any(m->mc->trusted, m->mc->ntrusted, c->ip))
    c->state = PT_MC_PROXY;
  pt_count(&m->worker->n.accepted);
  if (c->state == PT_MC_FIRST)
    secure(c);
  return 0;
}

pt_mongo_client *pt_mongo_client_arrive(pt_mongo *m, int fd, const pt_ho_mongo *h, pt_source *source) {
  pt_chunk *in = h->input.n ? pt_chunk_exact(&m->worker->pool, h->input.n + 256) : NULL;
  pt_mongo_client *c = h->input.n && !in ? NULL : client_new(m, fd, h->id, source);
  if (!c) {
    if (in)
      pt_chunk_unref(in);
    return NULL;
  }
  memcpy(c->ip, h->ip, sizeof c->ip);
  c->port = h->port;
  c->since = h->since;
  c->last = h->last;
  c->flags = h->flags | PT_MC_AWAY;
  c->identity = h->identity;
  c->backend = h->backend < PT_BACKEND_IDS ? h->backend : PT_BACKEND_NONE;
  if (in) {
    memcpy(in->data, h->input.at, h->input.n);
    c->in = in;
    c->in_len = in->fill = h->input.n;
  }
  return c;
}

static void drop_input(pt_mongo_client *c) {
  if (c->in)
    pt_chunk_unref(c->in);
  c->in = NULL;
  c->in_off = c->in_len = c->need = 0;
}

static void tell_access(const pt_mongo_client *c) {
  const pt_mongo *m = c->mongo;
  char where[PT_ADDRESS_TEXT];
  const pt_access_connection line = {m->lc,       pt_mongo_client_where(c, where),   c->since, m->worker->now, c->asked,
                                     c->received, c->moved - c->received + c->direct};
  pt_access_closed(&m->worker->access, &line);
}

void pt_mongo_client_fail(pt_mongo_client *c, pt_error e, const char *reason) {
  char where[PT_ADDRESS_TEXT], who[128 + PT_ADDRESS_TEXT];
  if (!(c->gen & 1))
    return;
  snprintf(who, sizeof who, "%s: %s", c->mongo->lc->name, pt_mongo_client_where(c, where));
  pt_told_closed(c->mongo->worker, e, who, reason);
  pt_mongo_client_close(c, NULL);
}

void pt_mongo_client_broken(pt_mongo_client *c, int error) {
  char where[PT_ADDRESS_TEXT];
  bool tls = c->conn.tls && (error == -EPROTO || error == -ETIMEDOUT);
  pt_conn_blame(&c->conn, error, c->mongo->lc->name, pt_mongo_client_where(c, where));
  if (tls)
    pt_told_count(c->mongo->worker, error == -EPROTO ? PT_E_TLS : PT_E_HANDSHAKE_TIMEOUT);
  if (tls || !error || error == -ECONNRESET || error == -EPIPE)
    pt_mongo_client_close(c, NULL);
  else
    pt_mongo_client_fail(c, PT_E_CONNECTION, pt_conn_error(&c->conn, error));
}

void pt_mongo_client_close(pt_mongo_client *c, const char *reason) {
  if (!(c->gen & 1))
    return;
  if (reason) {
    pt_mongo_client_fail(c, PT_E_OTHER, reason);
    return;
  }
  pt_mongo *m = c->mongo;
  if (m->worker->access.connections && !(c->flags & PT_MC_AWAY))
    tell_access(c);
  m->worker->access.why = NULL;
  pt_conn_close(&c->conn, m->worker->loop);
  c->gen++;
  pt_pair_end(c);
  pt_request_end(c);
  pt_place_release(c);
  drop_input(c);
  pt_segq_clear(&c->out);
  c->next = m->free_client;
  m->free_client = c->index + 1;
  pt_worker_left(m->worker, m->index, c->source);
  pt_count(&m->worker->n.closed);
  pt_count(&m->meter.closed);
}

void pt_mongo_client_late(pt_mongo_client *c, pt_error e, const char *reason) {
  pt_count(&c->mongo->worker->n.timeouts);
  if (reason)
    pt_mongo_client_fail(c, e, reason);
  else
    pt_mongo_client_close(c, NULL);
}

bool pt_mongo_client_stalls(pt_mongo_client *c, bool in_request, bool in_reply) {
  const pt_mongo *m = c->mongo;
  bool reads = in_request && (pt_conn_watched(&c->conn) & EV_READ);
  bool writes = in_reply && (c->flags & PT_MC_BLOCKED_OUT);
  uint64_t underway = writes ? pt_conn_underway(&c->conn) : 0, moved = c->moved > underway ? c->moved - underway : 0;
  if (!pt_slow_look(&c->slow, reads || writes, moved, m->worker->now, m->mc->stall_timeout))
    return false;
  pt_mongo_client_late(c, PT_E_STALLED,
                       writes ? "it does not read its reply (timeouts.stall)"
                              : "it does not finish its request (timeouts.stall)");
  return true;
}

/* A handshake where none is expected. */
static void refuse_tls(pt_mongo_client *c) {
  static pt_log_rate rate;
  char where[PT_ADDRESS_TEXT];
  pt_log_every(&rate, PT_LOG_WARN, "tls", "%s: %s: it speaks TLS, and this listener has no tls (%s)", c->mongo->lc->name,
               pt_mongo_client_where(c, where), pt_errors[PT_E_TLS].code);
  pt_told_count(c->mongo->worker, PT_E_TLS);
  pt_mongo_client_close(c, NULL);
}

/* ---- the first message ---- */

/* The address a PROXY header has told is not let in. */
static void refuse_denied(pt_mongo_client *c) {
  char where[PT_ADDRESS_TEXT];
  static pt_log_rate rate;
  pt_count(&c->mongo->n.refused);
  pt_log_every(&rate, PT_LOG_WARN, "limit", "%s: %s refused: its address is not let in (allow, deny) (%s)", c->mongo->lc->name,
               pt_mongo_client_where(c, where), pt_errors[PT_E_DENIED].code);
  pt_told_count(c->mongo->worker, PT_E_DENIED);
  pt_mongo_client_close(c, NULL);
}

/* Whose address counts from here on. false: closed, or more is needed. */
static bool take_proxy_header(pt_mongo_client *c) {
  pt_proxy_header h;
  int n = pt_proxy_header_read(&h, c->in->data + c->in_off, c->in_len);
  if (n < 0) {
    pt_mongo_client_fail(c, PT_E_NO_PROXY_HEADER,
                         "expected a PROXY protocol header: its address is listed in proxy_protocol.from");
    return false;
  }
  if (n == 0)
    return false;
  if (h.family != AF_UNSPEC) {
    set_source(c, h.family, h.src, h.src_port);
    if (!pt_admit_allows(c->mongo->lc, c->ip)) {
      refuse_denied(c);
      return false;
    }
  }
  c->in_off += (uint32_t)n;
  c->in_len -= (uint32_t)n;
  c->state = PT_MC_FIRST;
  secure(c);
  return c->in_len > 0;
}

static void begin(pt_mongo_client *c, const pt_client_hello *h) {
  if (h && h->load_balanced)
    c->flags |= PT_MC_LOAD_BALANCED;
  if (h && h->backpressure)
    c->flags |= PT_MC_BACKPRESSURE;
  pt_place_identify(c, h);
  if (c->mongo->mc->per_request) {
    c->state = PT_MC_REQUESTS;
    pt_request_begin(c, h);
  } else {
    c->state = PT_MC_PAIRED;
    pt_pair_begin(c, h);
  }
}

/* A small message, or what the mode may look at by itself: it is known from whom it comes. */
static void look(pt_mongo_client *c) {
  pt_mongo_message msg;
  pt_mongo_command cmd;
  pt_client_hello h;
  const char *why = NULL;
  const uint8_t *p = c->in->data + c->in_off;
  if (c->state == PT_MC_PROXY && !take_proxy_header(c))
    return;
  p = c->in->data + c->in_off;
  if (c->in_len < PT_MONGO_HEADER)
    return;
  int e = pt_mongo_header_read(&msg.h, p, PT_MONGO_MAX_HELLO, &why);
  if (e && p[0] == 0x16 && p[1] == 3 && !c->conn.tls) {
    refuse_tls(c);
    return;
  }
  char text[80];
  if (!e && msg.h.opcode != PT_OP_MSG && msg.h.opcode != PT_OP_QUERY) {
    snprintf(text, sizeof text, "its first message is %s, expected a hello in OP_MSG or OP_QUERY",
             pt_mongo_opcode_name(msg.h.opcode));
    why = text;
    e = -EPROTO;
  }
  if (!e && c->in_len < msg.h.length) {
    c->need = msg.h.length;
    return;
  }
  if (!e && pt_mongo_parse(&msg, p, msg.h.length, PT_MONGO_MAX_HELLO, &why) != PT_MONGO_OK)
    e = -EPROTO;
  if (!e)
    e = pt_mongo_command_read(&cmd, &msg, &why);
  bool hello = !e && cmd.verb == PT_MVERB_HELLO;
  if (hello)
    e = pt_client_hello_read(&h, &msg, &why);
  if (e)
    pt_mongo_client_fail(c, PT_E_BAD_MESSAGE, why ? why : "broken first message");
  else
    begin(c, hello ? &h : NULL);
}

/* Room for what the first message promises; it is small. */
static int make_room(pt_mongo_client *c) {
  uint32_t want = c->need > 1024 ? c->need : 1024;
  if (c->in && c->in->cap - c->in_off - c->in_len && c->in->cap - c->in_off >= want)
    return 0;
  if (c->in && want < c->in_len + 1024)
    want = c->in_len + 1024;
  pt_chunk *own = pt_chunk_exact(&c->mongo->worker->pool, want);
  if (!own)
    return -ENOMEM;
  if (c->in) {
    memcpy(own->data, c->in->data + c->in_off, c->in_len);
    pt_chunk_unref(c->in);
  }
  c->in = own;
  c->in_off = 0;
  return 0;
}

/* Reads the PROXY header and not a byte more: what follows is for TLS. As pt_conn_read. */
static ssize_t read_header(pt_mongo_client *c, uint8_t *out, size_t cap) {
  pt_proxy_header h;
  ssize_t n = pt_conn_peek(&c->conn, out, cap);
  if (n <= 0)
    return n;
  int whole = pt_proxy_header_read(&h, c->in->data + c->in_off, c->in_len + (size_t)n);
  return pt_conn_read(&c->conn, out, whole > 0 ? (size_t)whole - c->in_len : (size_t)n);
}

static void on_first(pt_mongo_client *c) {
  if (make_room(c)) {
    pt_mongo_client_fail(c, PT_E_MEMORY, "out of memory");
    return;
  }
  uint32_t at = c->in_off + c->in_len;
  bool header = c->state == PT_MC_PROXY && c->mongo->lc->tls;
  uint8_t *to = c->in->data + at;
  ssize_t n = header ? read_header(c, to, c->in->cap - at) : pt_conn_read(&c->conn, to, c->in->cap - at);
  if (n == -EAGAIN)
    return;
  if (n <= 0) {
    pt_mongo_client_broken(c, (int)n);
    return;
  }
  c->in_len += (uint32_t)n;
  c->moved += (uint64_t)n;
  c->received += (uint64_t)n;
  c->in->fill = c->in_off + c->in_len;
  c->last = c->mongo->worker->now;
  if (c->in_len >= c->need)
    look(c);
}

static void on_io(struct ev_loop *loop, ev_io *io, int events) {
  (void)loop;
  pt_mongo_client *c = io->data;
  c->mongo->worker->events++;
  switch ((pt_mc_state)c->state) {
  case PT_MC_PROXY:
  case PT_MC_FIRST:
    on_first(c);
    break;
  case PT_MC_PAIRED:
    pt_pair_client_io(c, events);
    break;
  case PT_MC_REQUESTS:
    pt_request_client_io(c, events);
    break;
  }
}

/* ---- writing ---- */

void pt_mongo_client_write_later(pt_mongo_client *c) {
  if (c->flags & (PT_MC_DIRTY | PT_MC_BLOCKED_OUT))
    return;
  if (pt_list_add(&c->mongo->dirty, c->index))
    pt_mongo_client_fail(c, PT_E_MEMORY, "out of memory");
  else
    c->flags |= PT_MC_DIRTY;
}

void pt_mongo_client_answer(pt_mongo_client *c, int request_opcode, int32_t response_to, const bson_t *doc) {
  pt_mongo *m = c->mongo;
  if (pt_mongo_answer(&c->out, &m->worker->pool, request_opcode, (int32_t)++m->next_id, response_to, 0, doc))
    pt_mongo_client_fail(c, PT_E_MEMORY, "out of memory");
  else
    pt_mongo_client_write_later(c);
}

static void watch_out(pt_mongo_client *c, bool blocked) {
  if (!(c->flags & PT_MC_BLOCKED_OUT) == !blocked)
    return;
  c->flags ^= PT_MC_BLOCKED_OUT;
  int reads = pt_conn_watched(&c->conn) & EV_READ;
  pt_conn_watch(&c->conn, c->mongo->worker->loop, reads | (blocked ? EV_WRITE : 0));
}

void pt_mongo_client_flush(pt_mongo_client *c) {
  uint64_t before = c->out.bytes;
  int e = pt_conn_send(&c->conn, &c->out);
  c->moved += before - c->out.bytes;
  if (e && e != -EAGAIN) {
    pt_mongo_client_broken(c, e);
    return;
  }
  watch_out(c, e);
  if (!e && (c->flags & PT_MC_CLOSING))
    pt_mongo_client_close(c, NULL);
}
