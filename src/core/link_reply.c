/* The replies of a link: finds where each ends and gives it to the oldest waiting request. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/link.h"
#include "core/reply.h"
#include "core/retry.h"
#include "core/upstream.h"

enum {
  READ_ROOM = 16 * 1024
};

/* AUTH where no password is set yet: no reason to refuse the node, so that a password can be rolled out to its clients first. */
static bool needs_no_password(const uint8_t *p, size_t n) {
  static const char *const texts[] = {"without any password configured", "no password is set"};
  return memmem(p, n, texts[0], strlen(texts[0])) || memmem(p, n, texts[1], strlen(texts[1]));
}

/* A reply of the greeting. False: the node refused, the link is cut. */
static bool greeted(pt_link *l, const uint8_t *p, size_t n) {
  if (*p == '-' && !needs_no_password(p, n)) {
    char why[96] = "it does not know AUTH or HELLO"; /* such an error repeats the arguments, the password among them */
    if (!memmem(p, n, "unknown command", 15))
      snprintf(why, sizeof why, "it refused: %.*s", (int)(n - 3 < 70 ? n - 3 : 70), (const char *)p + 1);
    if (l->proto == 2)
      pt_upstream_trip(l->up, why);
    else /* one that knows no HELLO 3 is none the worse for the others: it has answered */
      pt_upstream_heal(l->up);
    pt_link_cut(l, why);
    return false;
  }
  if (--l->setup == 0) {
    l->state = PT_LINK_READY;
    pt_upstream_heal(l->up);
    if (pt_link_write_later(l))
      pt_link_flush(l);
  }
  return l->state != PT_LINK_CLOSED;
}

static void settle(pt_link *l) {
  if (!l->answered)
    return;
  l->sent -= l->answered;
  pt_segq_drop(&l->log, l->answered);
  l->answered = 0;
}

/* Those whose whole reply has come and who have waited equally long: into the histograms of their classes and of the node. Fans and retry objects
 * are answered elsewhere; what we ask for ourselves does not count. */
void pt_link_end_run(pt_link *l) {
  if (l->run_stamp == PT_NO_STAMP)
    return;
  pt_meter *m = &l->up->svc->meter;
  unsigned bucket = pt_histogram_bucket(l->run_us);
  uint32_t n = 0, us = l->run_us, *run = l->run;
  l->run_stamp = PT_NO_STAMP;
  for (unsigned c = PT_WORK_OTHER; c <= PT_WORK_WRITE; c++) {
    if (run[c])
      pt_histogram_put(&m->latency[c], bucket, us, run[c]);
    n += run[c] + run[PT_KIND_FAN << 2 | c] + run[PT_KIND_RETRY << 2 | c];
  }
  memset(l->run, 0, sizeof l->run);
  if (n && l->up->meter)
    pt_histogram_put(&l->up->meter->latency, bucket, us, n);
}

static __attribute__((noinline)) void begin_run(pt_link *l, uint32_t stamp) {
  const pt_worker *w = l->up->svc->worker;
  if (l->run_stamp != PT_NO_STAMP)
    pt_link_end_run(l);
  l->run_stamp = stamp;
  l->run_us = w->now_us - stamp;
  l->run_slow = l->run_us >= w->slow_us;
}

/* The oldest request, which has just been answered, at the front of the log. */
static __attribute__((noinline)) void note_slow(pt_link *l, uint32_t whose, uint32_t len) {
  char name[PT_UPSTREAM_NAME];
  int slot = -1;
  if (whose >> 2 == PT_KIND_INTERNAL)
    return;
  settle(l);
  const pt_command *cmd = l->discard ? NULL : pt_retry_look(&l->log, len, &slot);
  pt_meter_slow(&l->up->svc->meter,
                cmd          ? cmd->name
                : l->discard ? "(streamed)"
                             : "(unknown)",
                slot, pt_upstream_name(l->up, name), l->run_us);
}

/* The oldest request has its whole reply. Its bytes stay in the log until settle, which drops those of many at once. */
static inline void pop(pt_link *l, uint32_t len) {
  l->fhead++;
  l->begun = false;
  l->answered += len;
  l->up->svc->worker->inflight--;
}

/* One reply, or a part of one, of used bytes. False: the link was cut. */
static bool pass_on(pt_link *l, pt_chunk *c, uint32_t off, uint32_t used, bool last) {
  pt_worker *w = l->up->svc->worker;
  uint32_t incarnation = l->incarnation;
  pt_owner who = l->fifo[l->fhead & l->fmask];
  uint32_t stamp = l->stamps[l->fhead & l->fmask], whose;
  memcpy(&whose, &who, sizeof whose);
  whose >>= 28; /* kind and class */
  if (stamp != l->run_stamp)
    begin_run(l, stamp);
  bool error = !l->begun && last && c->data[off] == '-' && who.kind != PT_KIND_INTERNAL;
  if (error)
    settle(l);
  if (error && pt_retry_on_error(l, who, c->data + off, used)) {
    if (l->incarnation != incarnation)
      return false;
    whose = PT_KIND_RETRY << 2;
  } else {
    l->begun = true;
    pt_reply_to(w, who, c, off, used, last);
    if (l->incarnation != incarnation)
      return false;
  }
  if (last) {
    l->run[whose]++;
    if (l->run_slow)
      note_slow(l, whose, who.len);
    pop(l, who.len);
  }
  return true;
}

/* Passes on the replies in n bytes. Returns how many bytes are left unused, -1 when the link was cut. */
static long replies(pt_link *l, pt_chunk *c, uint32_t off, uint32_t n) {
  while (n) {
    size_t used;
    if (!l->scan.inside)
      l->push = c->data[off] == '>'; /* RESP3 push: nobody's reply, dropped */
    bool push = l->push;
    int r = pt_reply_scan(&l->scan, c->data + off, n, &used);
    if (r == PT_RESP_BAD) {
      settle(l);
      pt_link_cut(l, "it sent what is no RESP");
      return -1;
    }
    if (l->state == PT_LINK_SETUP) {
      if (r == PT_RESP_OK && !push && !greeted(l, c->data + off, used))
        return -1;
    } else if (used && !push) {
      if (l->fhead == l->ftail) {
        settle(l);
        pt_link_cut(l, "it sent a reply nobody asked for");
        return -1;
      }
      if (!pass_on(l, c, off, (uint32_t)used, r == PT_RESP_OK))
        return -1;
    }
    off += (uint32_t)used;
    n -= (uint32_t)used;
    if (r == PT_RESP_MORE)
      break;
  }
  settle(l);
  return n;
}

static void take_latency(pt_link *l) {
  if (!l->timed_at || (int32_t)(l->fhead - l->timed) <= 0)
    return;
  uint32_t us = (uint32_t)((l->up->svc->worker->now - l->timed_at) / 1000);
  l->up->latency_us = l->up->latency_us ? l->up->latency_us - l->up->latency_us / 8 + us / 8 : us;
  l->timed_at = 0;
}

void pt_link_read(pt_link *l) {
  pt_chunk *c = pt_worker_scratch(l->up->svc->worker, READ_ROOM + l->nleft);
  if (!c) {
    pt_link_cut(l, "out of memory");
    return;
  }
  uint32_t at = c->fill;
  if (l->nleft)
    memcpy(c->data + at, l->left, l->nleft);
  ssize_t n = pt_conn_read(&l->conn, c->data + at + l->nleft, c->cap - at - l->nleft);
  if (n == -EAGAIN)
    return;
  if (n <= 0) {
    bool greeting = l->state == PT_LINK_SETUP;
    const char *why = n ? pt_conn_error(&l->conn, (int)n) : "the node closed the connection";
    if (greeting)
      pt_upstream_trip(l->up, why);
    else
      pt_upstream_suspect(l->up);
    pt_link_cut(l, why);
    return;
  }
  l->heard = true;
  uint32_t have = l->nleft + (uint32_t)n;
  c->fill = at + have;
  free(l->left);
  l->left = NULL;
  l->nleft = 0;
  pt_chunk_ref(c);
  long rest = replies(l, c, at, have);
  if (rest > 0) {
    if (!(l->left = malloc((size_t)rest)))
      pt_link_cut(l, "out of memory");
    else
      memcpy(l->left, c->data + at + have - rest, l->nleft = (uint32_t)rest);
  }
  if (rest >= 0) {
    pt_link_end_run(l);
    take_latency(l);
  }
  pt_chunk_unref(c);
}
