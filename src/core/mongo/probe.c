#include "core/mongo/probe.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "wire/proxy_header.h"

static void on_io(struct ev_loop *loop, ev_io *io, int events);
static void open_connection(pt_probe *p);

/* ---- the end ---- */

static void hang_up(pt_probe *p) {
  pt_conn_close(&p->conn, p->loop);
  pt_segq_clear(&p->out);
  if (p->in)
    pt_chunk_unref(p->in);
  p->in = NULL;
  p->connected = false;
}

void pt_probe_stop(pt_probe *p) {
  hang_up(p);
  ev_timer_stop(p->loop, &p->timer);
  explicit_bzero(&p->greet.scram, sizeof p->greet.scram);
  p->running = false;
}

static void end(pt_probe *p, bool good) {
  pt_probe_stop(p);
  p->done(p, good);
}

static __attribute__((format(printf, 2, 3))) void fail(pt_probe *p, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  if (!p->second) /* what the first way to ask met says more */
    vsnprintf(p->error, sizeof p->error, fmt, args);
  va_end(args);
  if (p->second)
    p->legacy = false;
  end(p, false);
}

static void no_memory(pt_probe *p) {
  p->ours = true;
  fail(p, "out of memory");
}

static void fail_errno(pt_probe *p, int e) {
  const char *text = strerrordesc_np(-e);
  text = text ? text : "unknown error";
  fail(p, "%c%s", tolower(text[0]), text + 1);
}

/* The hello was not understood: asks the other way, on a new connection. */
static void fail_or_ask_again(pt_probe *p, const char *why) {
  if (p->second || p->greet.hello.ok) {
    fail(p, "%s", why);
    return;
  }
  snprintf(p->error, sizeof p->error, "%s", why);
  p->second = true;
  p->legacy = !p->legacy;
  hang_up(p);
  open_connection(p);
}

static void judge(pt_probe *p) {
  const pt_server_hello *h = &p->greet.hello;
  if (!h->writable)
    fail(p, "it is not writable");
  else if (p->mc->require_mongos && !h->isdbgrid)
    fail(p, "it is no mongos");
  else
    end(p, true);
}

/* ---- bytes ---- */

static void lost(pt_probe *p, int e) {
  if (p->conn.tls && (e == -EPROTO || !p->connected))
    fail(p, "%s", pt_conn_error(&p->conn, e));
  else if (!e || e == -ECONNRESET || e == -EPIPE)
    fail_or_ask_again(p, "it closed the connection");
  else
    fail_errno(p, e);
}

static bool flush(pt_probe *p) {
  int e = pt_conn_send(&p->conn, &p->out);
  if (e && e != -EAGAIN) {
    lost(p, e);
    return false;
  }
  pt_conn_watch(&p->conn, p->loop, e ? EV_READ | EV_WRITE : EV_READ);
  return true;
}

/* Bytes the message that is being read has in all, as far as that is known; 0: it is none. */
static uint32_t wanted(const pt_chunk *in) {
  pt_mongo_header h;
  const char *why;
  if (in->fill < PT_MONGO_HEADER)
    return PT_MONGO_HEADER;
  return pt_mongo_header_read(&h, in->data, PT_MONGO_MAX_HELLO, &why) ? 0 : h.length;
}

static bool make_room(pt_probe *p, uint32_t want) {
  if (p->in && p->in->cap >= want)
    return true;
  pt_chunk *larger = pt_chunk_new(p->pool, want);
  if (!larger)
    return false;
  if (p->in) {
    memcpy(larger->data, p->in->data, p->in->fill);
    larger->fill = p->in->fill;
    pt_chunk_unref(p->in);
  }
  p->in = larger;
  return true;
}

/* Reads no further than the end of one message. 1: it is whole, 0: not yet, -1: the probe has ended. */
static int read_message(pt_probe *p) {
  for (;;) {
    uint32_t want = p->in ? wanted(p->in) : PT_MONGO_HEADER;
    if (!want) {
      fail_or_ask_again(p, "not a MongoDB answer");
      return -1;
    }
    if (!make_room(p, want)) {
      no_memory(p);
      return -1;
    }
    if (p->in->fill == want)
      return 1;
    ssize_t n = pt_conn_read(&p->conn, p->in->data + p->in->fill, want - p->in->fill);
    if (n == -EAGAIN)
      return 0;
    if (n <= 0) {
      lost(p, (int)n);
      return -1;
    }
    p->in->fill += (uint32_t)n;
  }
}

static void on_replies(pt_probe *p) {
  while (read_message(p) == 1) {
    pt_greet_result r = pt_greet_reply(&p->greet, p->in->data, p->in->fill, &p->out, p->pool);
    p->in->fill = 0;
    if (r == PT_GREET_DONE)
      judge(p);
    else if (r == PT_GREET_FAILED)
      fail_or_ask_again(p, p->greet.error);
    if (r != PT_GREET_SEND || !flush(p))
      return;
  }
}

/* ---- the beginning ---- */

static void arm(pt_probe *p, uint64_t ms) {
  uint64_t now = pt_now_ns(), left = p->deadline > now ? p->deadline - now : 0;
  if (ms * 1000000u < left)
    left = ms * 1000000u;
  ev_now_update(p->loop);
  ev_timer_stop(p->loop, &p->timer);
  ev_timer_set(&p->timer, (double)left / 1e9, 0);
  ev_timer_start(p->loop, &p->timer);
}

/* A backend that wants the header of the PROXY protocol wants it of us too, before TLS. */
static size_t introduction(const pt_probe *p, uint8_t out[PT_PROXY_MAX]) {
  pt_proxy_header none = {.family = AF_UNSPEC};
  return p->mc->proxy_send == PT_PROXY_OFF ? 0 : pt_proxy_header_write(&none, p->mc->proxy_send == PT_PROXY_V1 ? 1 : 2, out);
}

static int introduce(pt_probe *p) {
  uint8_t bytes[PT_PROXY_MAX];
  size_t n = p->conn.tls ? 0 : introduction(p, bytes);
  return n ? pt_segq_copy(&p->out, p->pool, bytes, n, 0) : 0;
}

static void on_connected(pt_probe *p) {
  int e = pt_conn_connected(&p->conn);
  p->greet = (pt_greet){0};
  if (e) {
    lost(p, e);
    return;
  }
  p->connected = true;
  arm(p, p->mc->health_timeout);
  if (introduce(p) || pt_greet_start(&p->greet, p->mc, p->legacy, &p->out, p->pool))
    no_memory(p);
  else
    flush(p);
}

static void on_io(struct ev_loop *loop, ev_io *io, int events) {
  (void)loop;
  pt_probe *p = io->data;
  if (!p->connected)
    on_connected(p);
  else if (!(events & EV_WRITE) || flush(p))
    on_replies(p);
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int events) {
  (void)loop;
  (void)events;
  pt_probe *p = w->data;
  if (p->conn.io.fd < 0) /* could not even begin */
    end(p, false);
  else
    fail(p, "%s", p->connected ? "no answer in time" : "no connection in time");
}

static void open_connection(pt_probe *p) {
  int fd = pt_connect(&p->to);
  if (fd < 0) {
    const char *text = strerrordesc_np(-fd);
    p->ours = pt_connect_ours(fd);
    if (!p->second || p->ours)
      snprintf(p->error, sizeof p->error, "%c%s", tolower(text[0]), text + 1);
    arm(p, 0);
    return;
  }
  pt_conn_open(&p->conn, p->loop, fd, EV_WRITE, on_io, p);
  arm(p, p->mc->connect_timeout);
  uint8_t first[PT_PROXY_MAX];
  if (p->lc->backend_tls && pt_conn_connect_tls(&p->conn, p->loop, p->lc->backend_tls, p->host, first, introduction(p, first))) {
    pt_conn_close(&p->conn, p->loop);
    p->ours = true;
    snprintf(p->error, sizeof p->error, "out of memory");
    arm(p, 0);
  }
}

void pt_probe_init(pt_probe *p, struct ev_loop *loop, pt_pool *pool, pt_probe_done *done, void *owner) {
  p->loop = loop;
  p->pool = pool;
  p->done = done;
  p->owner = owner;
  p->conn.io.fd = -1;
  ev_timer_init(&p->timer, on_timer, 0, 0);
  ev_set_priority(&p->timer, -1); /* an answer that is there counts, however late this thread looks */
  p->timer.data = p;
}

void pt_probe_start(pt_probe *p, const pt_listener_config *lc, const char *host, const pt_address *to) {
  const pt_mongo_config *mc = lc->mongo;
  pt_probe_stop(p);
  p->lc = lc;
  p->mc = mc;
  p->host = host;
  p->to = *to;
  p->running = true;
  p->second = p->ours = false;
  p->deadline = pt_now_ns() + mc->health_timeout * 1000000u;
  p->greet.hello.ok = false;
  open_connection(p);
}
