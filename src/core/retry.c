#include "core/retry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/client.h"
#include "core/fan.h"
#include "core/gate.h"
#include "core/redirect.h"
#include "core/reply.h"
#include "core/service.h"
#include "core/topology.h"
#include "core/upstream.h"

enum {
  DELAY_FIRST_MS = 5,
  DELAY_MAX_MS = 200,
  PEEK = 1024
};

typedef enum state {
  PARKED,
  WAITING,
  FLYING
} state;

struct pt_retry {
  uint32_t index, gen; /* gen is odd while in use */
  uint32_t next_free; /* index + 1 */
  pt_retry *prev, *next; /* the client's ring list, by seq */
  pt_client *client;
  uint32_t seq;
  pt_owner owner; /* whom the reply goes to: the client or a fan part */
  pt_segq bytes;
  int slot; /* -1: none, no gate */
  uint8_t state;
  bool asking;
  unsigned redirects, losses;
  pt_upstream *target; /* NULL: by the slot map; holds a reference */
  uint64_t due, deadline; /* ns */
  uint32_t born; /* us: when it was first sent, or parked */
  uint32_t delay_ms;
  pt_error error; /* of last */
  char last[200]; /* the error that brought it here, without "-" and CRLF: what the client gets in the end */
};

/* ---- the table ---- */

static pt_retry *lookup(pt_worker *w, uint32_t index, uint32_t gen) {
  pt_retry *r = index < w->nretries ? w->retries[index] : NULL;
  return r && r->gen == gen ? r : NULL;
}

static pt_retry *take_free(pt_worker *w) {
  if (w->free_retry) {
    pt_retry *r = w->retries[w->free_retry - 1];
    w->free_retry = r->next_free;
    return r;
  }
  if ((w->nretries & (w->nretries - 1)) == 0) {
    pt_retry **more = realloc(w->retries, (w->nretries ? w->nretries * 2 : 1) * sizeof(pt_retry *));
    if (!more)
      return NULL;
    w->retries = more;
  }
  pt_retry *r = calloc(1, sizeof *r);
  if (!r)
    return NULL;
  r->index = w->nretries;
  return w->retries[w->nretries++] = r;
}

static void list_insert(pt_client *c, pt_retry *r) {
  pt_retry *first = c->retries, *after = first ? first->prev : NULL;
  if (!first) {
    c->retries = r->prev = r->next = r;
    return;
  }
  while (after != first && (int32_t)(after->seq - r->seq) > 0)
    after = after->prev;
  bool front = after == first && (int32_t)(first->seq - r->seq) > 0;
  if (front)
    after = first->prev;
  r->prev = after;
  r->next = after->next;
  after->next->prev = r;
  after->next = r;
  if (front)
    c->retries = r;
}

static pt_retry *retry_new(pt_client *c, pt_owner owner, uint32_t seq, int slot) {
  pt_worker *w = c->svc->worker;
  pt_retry *r = take_free(w);
  if (!r)
    return NULL;
  uint32_t index = r->index, gen = r->gen;
  *r = (pt_retry){.index = index, .gen = gen + 1, .client = c, .seq = seq, .owner = owner, .slot = slot};
  r->due = w->now;
  r->born = w->now_us;
  r->deadline = w->now + c->svc->lc->request_timeout * PT_NS_PER_MS;
  list_insert(c, r);
  pt_gate_add(c->svc, slot);
  w->waiting++;
  pt_client_pump_later(c);
  return c->gen & 1 ? r : NULL; /* without memory for the list it is closed, and r forgotten */
}

static void aim(pt_retry *r, pt_upstream *up) {
  if (r->target)
    r->target->refs--;
  if (up)
    up->refs++;
  r->target = up;
}

static void retry_end(pt_retry *r) {
  pt_client *c = r->client;
  pt_worker *w = c->svc->worker;
  if (c->retries == r)
    c->retries = r->next == r ? NULL : r->next;
  r->prev->next = r->next;
  r->next->prev = r->prev;
  pt_gate_remove(c->svc, r->slot);
  aim(r, NULL);
  c->parked -= r->bytes.bytes < c->parked ? r->bytes.bytes : c->parked;
  pt_segq_clear(&r->bytes);
  if ((c->flags & PT_CLIENT_FULL) && (c->gen & 1))
    pt_client_resume_later(c);
  r->gen++;
  r->next_free = w->free_retry;
  w->free_retry = r->index + 1;
  w->waiting--;
  if (c->retries && (c->gen & 1))
    pt_client_pump_later(c);
}

/* Ends with an error for its owner. */
static void give_up(pt_retry *r, pt_error e, const char *text) {
  pt_worker *w = r->client->svc->worker;
  pt_owner owner = r->owner;
  char copy[400];
  snprintf(copy, sizeof copy, "%s", text);
  retry_end(r);
  pt_reply_error(w, owner, e, "%s", copy);
}

/* ---- from a request to its object ---- */

/* The client and number behind an owner that is a client or a fan part. NULL: gone. */
static pt_client *asker(pt_worker *w, pt_owner who, uint32_t *seq) {
  if (who.kind == PT_KIND_FAN && !pt_fan_owner(w, &who))
    return NULL;
  *seq = who.seq;
  return pt_client_get(w, who.index, who.gen);
}

/* What the front of a log holds: command (NULL: unknown) and slot (-1: none). */
const pt_command *pt_retry_look(const pt_segq *log, uint32_t len, int *slot) {
  uint8_t bytes[PEEK];
  pt_frame f = {0};
  pt_resp_limits lim = {.max_bulk = 1ull << 40, .max_args = PT_RESP_MAX_ARGS};
  size_t n = pt_segq_peek(log, bytes, len < PEEK ? len : PEEK);
  int sub = 0;
  *slot = -1;
  if (pt_request_scan(bytes, n, &lim, &f) == PT_RESP_BAD || !f.nargs)
    return NULL;
  const pt_command *cmd = pt_command_find(f.args, f.nargs, &sub);
  if (cmd && cmd->keyspec == PT_KEYS_RANGE && (uint32_t)cmd->first < f.nargs)
    *slot = pt_key_slot(f.args[cmd->first].p, f.args[cmd->first].n);
  return cmd;
}

/* The slot of a request whose first key lies where only a full look finds it. */
static int slot_of(const pt_segq *log, uint32_t len, pt_pool *pool) {
  int slot = -1, sub = 0;
  pt_frame f = {0};
  pt_resp_limits lim = {.max_bulk = 1ull << 40, .max_args = PT_RESP_MAX_ARGS};
  pt_chunk *whole = pt_chunk_exact(pool, len);
  if (!whole)
    return -1;
  pt_segq_peek(log, whole->data, len);
  if (pt_request_scan(whole->data, len, &lim, &f) == PT_RESP_OK) {
    const pt_command *cmd = pt_command_find(f.args, f.nargs, &sub);
    pt_arg *args = malloc(f.argc * sizeof *args);
    uint32_t key;
    if (cmd && args) {
      pt_request_args(whole->data, len, args, f.argc);
      if (pt_command_keys(cmd, args, f.argc, &key, 1) > 0)
        slot = pt_key_slot(args[key].p, args[key].n);
    }
    free(args);
  }
  pt_chunk_unref(whole);
  return slot;
}

/* The object of a request at the front of log: the one it is, or a new one. NULL: its owner has gone, or no memory (then it is answered). */
static pt_retry *object(pt_link *l, pt_owner who, const pt_segq *log, const pt_command **cmd) {
  pt_service *s = l->up->svc;
  pt_worker *w = s->worker;
  int slot;
  if (who.kind == PT_KIND_RETRY) {
    pt_retry *r = lookup(w, who.index, who.gen);
    if (r)
      *cmd = pt_retry_look(&r->bytes, (uint32_t)r->bytes.bytes, &slot);
    return r;
  }
  uint32_t seq;
  pt_client *c = asker(w, who, &seq);
  if (!c) {
    if (who.kind == PT_KIND_FAN)
      pt_fan_cancel(w, who);
    return NULL;
  }
  *cmd = pt_retry_look(log, who.len, &slot);
  if (slot < 0 && *cmd && (*cmd)->keyspec != PT_KEYS_NONE)
    slot = slot_of(log, who.len, &w->pool);
  pt_retry *r = retry_new(c, who, seq, slot);
  if (r)
    r->born -= l->run_us;
  if (r && pt_segq_share(&r->bytes, log, who.len)) {
    retry_end(r);
    r = NULL;
  }
  c->parked += r ? who.len : 0;
  if (!r)
    pt_reply_error(w, who, PT_E_MEMORY, "OOM puerta is out of memory; request not executed");
  return r;
}

int pt_retry_park(pt_client *c, pt_owner who, uint32_t seq, int slot, pt_chunk *chunk, uint32_t off, uint32_t len) {
  pt_retry *r = retry_new(c, who, seq, slot);
  if (!r)
    return -ENOMEM;
  if (pt_segq_ref(&r->bytes, chunk, off, len)) {
    retry_end(r);
    return -ENOMEM;
  }
  r->state = PARKED;
  c->parked += len;
  return 0;
}

bool pt_retry_has(const pt_client *c, int slot) {
  const pt_retry *first = c->retries;
  if (!first)
    return false;
  const pt_retry *r = first->prev; /* the newest is the likeliest */
  do {
    if (r->slot == slot)
      return true;
    r = r->prev;
  } while (r != first->prev);
  return false;
}

/* ---- what a node's error makes of it ---- */

static void wait_a_little(pt_retry *r) {
  r->delay_ms = !r->delay_ms ? DELAY_FIRST_MS : r->delay_ms * 2 > DELAY_MAX_MS ? DELAY_MAX_MS : r->delay_ms * 2;
  r->due = r->client->svc->worker->now + (uint64_t)r->delay_ms * PT_NS_PER_MS;
}

bool pt_retry_on_error(pt_link *l, pt_owner who, const uint8_t *line, size_t n) {
  pt_service *s = l->up->svc;
  pt_redirect_target t;
  pt_redirect what = pt_redirect_parse(line, n, &t);
  if (what == PT_REDIRECT_NONE)
    return false;
  if (l->discard) { /* a stream: its bytes are gone */
    if (what == PT_REDIRECT_MOVED)
      pt_service_moved(s, t.slot, pt_service_resolve(s, t.host[0] ? t.host : l->up->host, t.port), t.host, t.port);
    pt_reply_error(s->worker, who, PT_E_REDIRECTS,
                   "TRYAGAIN a request above stream_above met a slot that moves; it was not executed (%.*s)",
                   (int)(n - 3 < 100 ? n - 3 : 100), (const char *)line + 1);
    return true;
  }
  const pt_command *cmd = NULL;
  pt_retry *r = object(l, who, &l->log, &cmd);
  if (!r)
    return true;
  r->state = WAITING;
  r->asking = false;
  aim(r, NULL);
  r->error = PT_E_NODE_REFUSES;
  snprintf(r->last, sizeof r->last, "%.*s", (int)(n - 3 < sizeof r->last - 1 ? n - 3 : sizeof r->last - 1),
           (const char *)line + 1);
  pt_upstream *to = NULL;
  pt_why why = PT_WHY_TRYAGAIN;
  if (what == PT_REDIRECT_MOVED || what == PT_REDIRECT_ASK) {
    pt_count(&s->worker->n.redirects);
    why = what == PT_REDIRECT_ASK ? PT_WHY_ASK : PT_WHY_MOVED;
    to = pt_service_resolve(s, t.host[0] ? t.host : l->up->host, t.port);
    if (++r->redirects > s->lc->max_redirects) {
      char text[300];
      snprintf(text, sizeof text, "ERR too many redirects (max_redirects = %u), the last: %s", s->lc->max_redirects, r->last);
      give_up(r, PT_E_REDIRECTS, text);
      return true;
    }
    if (what == PT_REDIRECT_MOVED)
      pt_service_moved(s, t.slot, to, t.host[0] ? t.host : l->up->host, t.port);
    r->asking = what == PT_REDIRECT_ASK;
  } else {
    pt_count(&s->worker->n.retries);
    if (what == PT_REDIRECT_DOWN) {
      why = PT_WHY_CLUSTERDOWN;
      pt_topology_hint(s->topology, NULL, 0);
    }
  }
  int verdict = pt_service_ask_redirect(s, &r->bytes, cmd, r->slot, why, &to);
  if (verdict == PT_ACT_FAIL)
    give_up(r, r->error, r->last);
  else if (to)
    aim(r, to);
  else { /* the cluster says later, or names an address that nobody has resolved yet: ask the owner again */
    r->asking = false;
    wait_a_little(r);
  }
  return true;
}

void pt_retry_on_loss(pt_link *l, pt_owner who, const pt_segq *log, bool written, const char *reason) {
  pt_service *s = l->up->svc;
  pt_worker *w = s->worker;
  char name[PT_UPSTREAM_NAME];
  const pt_command *cmd = NULL;
  int slot;
  if (who.kind != PT_KIND_RETRY)
    cmd = pt_retry_look(log, who.len, &slot);
  else if (lookup(w, who.index, who.gen))
    cmd = pt_retry_look(&lookup(w, who.index, who.gen)->bytes, PEEK, &slot);
  pt_count(&w->n.lost);
  if (l->up->meter)
    pt_count(&l->up->meter->lost);
  if (written && !(cmd && (cmd->flags & PT_CMD_READONLY))) {
    pt_owner owner = who;
    pt_retry *r = who.kind == PT_KIND_RETRY ? lookup(w, who.index, who.gen) : NULL;
    if (r) {
      owner = r->owner;
      retry_end(r);
    }
    if (owner.kind != PT_KIND_RETRY)
      pt_reply_error(w, owner, strcmp(reason, pt_link_late) ? PT_E_OUTCOME_UNKNOWN : PT_E_REQUEST_TIMEOUT,
                     "ERR outcome unknown: node %s was lost after the request was sent: %s", pt_upstream_name(l->up, name),
                     reason);
    return;
  }
  pt_retry *r = object(l, who, log, &cmd);
  if (!r)
    return;
  r->state = WAITING;
  r->asking = false;
  aim(r, NULL);
  if (r->losses++)
    wait_a_little(r);
  r->error = PT_E_LOST_UNSENT;
  snprintf(r->last, sizeof r->last, "ERR node %.100s: %.60s; request not %s", pt_upstream_name(l->up, name), reason,
           written ? "answered" : "sent");
  pt_upstream *to = NULL;
  if (pt_service_ask_redirect(s, &r->bytes, cmd, r->slot, PT_WHY_LOST, &to) == PT_ACT_FAIL)
    give_up(r, r->error, r->last);
  else
    aim(r, to);
}

/* ---- sending ---- */

static void send_it(pt_retry *r) {
  pt_client *c = r->client;
  pt_service *s = c->svc;
  pt_upstream *up = r->target ? r->target : pt_service_owner(s, r->slot);
  char name[PT_UPSTREAM_NAME], text[400];
  if (!up) {
    if (!r->last[0]) {
      r->error = PT_E_SLOT_UNSERVED;
      snprintf(r->last, sizeof r->last, "CLUSTERDOWN Hash slot not served");
    }
    r->state = WAITING;
    wait_a_little(r);
    return;
  }
  if (up->open) {
    pt_count(&s->worker->n.failfast);
    snprintf(text, sizeof text, "ERR node %s fails fast: %s; request not executed", pt_upstream_name(up, name), up->reason);
    give_up(r, PT_E_FAILS_FAST, text);
    return;
  }
  pt_owner who = r->state == PARKED ? r->owner : (pt_owner){.index = r->index, .kind = PT_KIND_RETRY, .gen = r->gen};
  pt_link *l = pt_link_of(up, c->proto, c->index);
  int e = pt_link_push_queue(l, who, &r->bytes, r->asking);
  if (e) {
    snprintf(text, sizeof text, "ERR node %s: %s; request not executed", pt_upstream_name(up, name),
             e == -ENOBUFS ? "its backlog is full (node_backlog)" : "out of memory");
    give_up(r, e == -ENOBUFS ? PT_E_BACKLOG : PT_E_MEMORY, text);
  } else if (r->state == PARKED) {
    pt_link_backdate(l, r->born);
    retry_end(r);
  } else {
    r->state = FLYING;
  }
}

static bool may_go(const pt_retry *r) {
  const pt_client *c = r->client;
  if (r->state == PARKED)
    return r->seq == c->head || r->slot < 0 || !c->svc->fenced[r->slot];
  return r->seq == c->head && r->due <= c->svc->worker->now;
}

void pt_retry_pump(pt_client *c) {
  pt_worker *w = c->svc->worker;
  c->flags &= (uint16_t)~PT_CLIENT_PUMP;
  uint32_t gen = c->gen;
  pt_retry *last = c->retries ? c->retries->prev : NULL, *r = c->retries, *next;
  w->epoch++;
  for (bool more = r != NULL; more && c->gen == gen; r = next) {
    next = r->next;
    more = r != last;
    if (r->slot >= 0 && w->stamp[r->slot] == w->epoch)
      continue; /* something older of this connection stands on the slot */
    uint32_t rgen = r->gen;
    int slot = r->slot;
    if (r->state == PARKED && may_go(r)) {
      send_it(r);
    } else if (r->state == WAITING && w->now >= r->deadline) {
      give_up(r, r->error, r->last);
    } else if (r->state == WAITING && may_go(r)) {
      send_it(r);
    }
    if (slot >= 0 && r->gen == rgen)
      w->stamp[slot] = w->epoch;
  }
}

void pt_retry_look_again(pt_worker *w) {
  for (uint32_t i = 0; i < w->nretries; i++)
    if (w->retries[i]->gen & 1)
      pt_client_pump_later(w->retries[i]->client);
}

/* ---- answers ---- */

void pt_retry_reply(pt_worker *w, pt_owner who, pt_chunk *chunk, uint32_t off, uint32_t len, bool last) {
  pt_retry *r = lookup(w, who.index, who.gen);
  if (!r)
    return;
  pt_owner owner = r->owner;
  if (last) {
    if (owner.kind == PT_KIND_CLIENT)
      pt_histogram_add(&r->client->svc->meter.latency[owner.class], w->now_us - r->born, 1);
    retry_end(r);
  }
  pt_reply_to(w, owner, chunk, off, len, last);
}

bool pt_retry_owner(pt_worker *w, pt_owner *who) {
  pt_retry *r = lookup(w, who->index, who->gen);
  if (r)
    *who = r->owner;
  return r != NULL;
}

void pt_retry_forget(pt_client *c) {
  while (c->retries) {
    pt_owner owner = c->retries->owner;
    retry_end(c->retries);
    if (owner.kind == PT_KIND_FAN)
      pt_fan_cancel(c->svc->worker, owner);
  }
}

void pt_retry_free_all(pt_worker *w) {
  for (uint32_t i = 0; i < w->nretries; i++) {
    if (w->retries[i]->gen & 1)
      retry_end(w->retries[i]);
    free(w->retries[i]);
  }
  free(w->retries);
}
