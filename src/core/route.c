#include "core/route.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc16.h"
#include "core/fan.h"
#include "core/link.h"
#include "core/local.h"
#include "core/retry.h"

/* What the core keeps of a batch beside what the policy sees. */
typedef struct pending {
  uint32_t off, len;
} pending;

typedef struct batch {
  pt_client *c;
  pt_service *s;
  pt_chunk *chunk;
  unsigned n;
  pending at[PT_BATCH];
} batch;

static void answer(pt_client *c, uint32_t seq, const char *resp, size_t len) {
  pt_owner who = {.index = c->index, .kind = PT_KIND_CLIENT, .gen = c->gen, .seq = seq};
  pt_client_answer(c->svc->worker, who, resp, len);
}

static void refuse(pt_client *c, uint32_t seq, const char *text) {
  char line[512];
  int n = snprintf(line, sizeof line, "-%.480s\r\n", text);
  answer(c, seq, line, (size_t)n);
}

/* The node of one request: the policy's answer when it is a node, else the owner of the slot, else (no keys) any master in turn. */
static int node_of(pt_service *s, const pt_request *r) {
  if (r->node >= 0 && (unsigned)r->node < s->cluster->nnodes)
    return r->node;
  if (r->slot < PT_SLOTS)
    return s->map[r->slot] & ~PT_GATED;
  static _Thread_local unsigned turn;
  for (unsigned i = 0; i < s->cluster->nnodes; i++) {
    unsigned k = turn++ % s->cluster->nnodes;
    if (!s->cluster->nodes[k].replica)
      return (int)k;
  }
  return PT_NODE_NONE;
}

static void send_one(batch *b, const pt_request *r, pending at, uint32_t seq) {
  pt_client *c = b->c;
  pt_service *s = b->s;
  pt_owner who = {.index = c->index, .kind = PT_KIND_CLIENT, .gen = c->gen, .seq = seq};
  if (r->node == PT_ROUTE_REJECT) {
    refuse(c, seq, "ERR rejected by policy");
    return;
  }
  if (r->slot < PT_SLOTS && (s->map[r->slot] & PT_GATED)) {
    if (pt_retry_park(s, who, b->chunk, at.off, at.len, r->slot))
      refuse(c, seq, "OOM puerta is out of memory; request not sent");
    return;
  }
  int node = node_of(s, r);
  if (node == PT_NODE_NONE) {
    refuse(c, seq, "CLUSTERDOWN Hash slot not served");
    return;
  }
  pt_upstream *up = s->by_node[node];
  char text[512];
  if (up->open) {
    snprintf(text, sizeof text, "ERR node %s is failing fast: %s; request not sent", up->name, up->reason);
    refuse(c, seq, text);
    return;
  }
  int e = pt_link_push(pt_link_of(up, c->proto, c->index), who, b->chunk, at.off, at.len);
  if (e) {
    snprintf(text, sizeof text, "ERR node %s: %s; request not sent", up->name,
             e == -ENOBUFS ? "its backlog is full (node_backlog)" : "out of memory");
    refuse(c, seq, text);
  }
}

/* One call into the policy for everything gathered. */
static void dispatch(batch *b) {
  if (!b->n)
    return;
  pt_policy *p = b->s->policy;
  uint32_t gen = b->c->gen, first = b->c->tail - b->n;
  if (p->route)
    p->route(p, b->n);
  for (unsigned i = 0; i < b->n && b->c->gen == gen; i++)
    send_one(b, &p->batch[i], b->at[i], first + i);
  b->n = 0;
}

static void unknown_command(pt_client *c, uint32_t seq, const pt_frame *f) {
  char text[400];
  int n = snprintf(text, sizeof text, "ERR unknown command '%.*s', with args beginning with: ", (int)(f->args[0].n < 128 ? f->args[0].n : 128),
                   (const char *)f->args[0].p);
  for (unsigned i = 1; i < f->nargs && n < 128 + 150; i++)
    n += snprintf(text + n, sizeof text - (size_t)n, "'%.*s' ", (int)(f->args[i].n < 128 ? f->args[i].n : 128),
                  (const char *)f->args[i].p);
  for (char *p = text; *p; p++)
    if (*p == '\r' || *p == '\n')
      *p = ' ';
  refuse(c, seq, text);
}

/* All keys in one slot: that slot; none: -1; several slots: -2. */
static int slot_of(const pt_command *cmd, const pt_arg *args, uint32_t argc) {
  uint32_t keys[256];
  int n = pt_command_keys(cmd, args, argc, keys, 256), slot = -1;
  for (int i = 0; i < n && i < 256; i++) {
    int k = pt_key_slot(args[keys[i]].p, args[keys[i]].n);
    if (slot >= 0 && k != slot)
      return -2;
    slot = k;
  }
  return slot;
}

/* A request with keys joins the batch. */
static void gather(batch *b, const pt_frame *f, const pt_command *cmd, uint32_t off, int slot, const pt_arg *key) {
  pt_client *c = b->c;
  if (b->n == PT_BATCH)
    dispatch(b);
  pt_request *r = &b->s->policy->batch[b->n];
  *r = (pt_request){
      .key = key ? key->p : NULL,
      .key_len = key ? key->n : 0,
      .frame = b->chunk->data + off,
      .frame_len = f->len,
      .flags = cmd->flags,
      .slot = slot < 0 ? 0xffff : (uint16_t)slot,
      .cmd = cmd->id,
      .argc = f->argc,
      .client = c->index,
      .node = PT_ROUTE_DEFAULT,
      .client_ip = c->ip,
  };
  b->at[b->n++] = (pending){off, f->len};
  c->tail++;
}

/* All arguments of a frame, in memory that serves until the next call. NULL: no memory. */
static const pt_arg *all_args(const pt_frame *f, const uint8_t *frame) {
  static _Thread_local pt_arg *args;
  static _Thread_local uint32_t cap;
  if (f->argc <= PT_FRAME_ARGS)
    return f->args;
  if (f->argc > cap) {
    pt_arg *more = realloc(args, f->argc * sizeof *more);
    if (!more)
      return NULL;
    args = more;
    cap = f->argc;
  }
  pt_request_args(frame, f->len, args, f->argc);
  return args;
}

static void route_keyed(batch *b, const pt_frame *f, const pt_command *cmd, uint32_t off) {
  pt_client *c = b->c;
  if (cmd->keyspec == PT_KEYS_RANGE && cmd->first == cmd->last && (uint32_t)cmd->first < f->nargs) {
    const pt_arg *key = &f->args[cmd->first];
    gather(b, f, cmd, off, pt_key_slot(key->p, key->n), key);
    return;
  }
  const pt_arg *args = all_args(f, b->chunk->data + off);
  int slot = args ? slot_of(cmd, args, f->argc) : -1;
  if (args && slot != -2) {
    gather(b, f, cmd, off, slot, NULL);
    return;
  }
  dispatch(b);
  refuse(c, c->tail++, args ? "CROSSSLOT Keys in request don't hash to the same slot" : "OOM puerta is out of memory");
}

/* One whole frame. false: it has to wait, nothing was done. */
static bool route_frame(batch *b, const pt_frame *f, uint32_t off) {
  pt_client *c = b->c;
  int unknown_sub = 0;
  const pt_command *cmd = pt_command_find(f->args, f->nargs, &unknown_sub);
  if (cmd && cmd->verb == PT_VERB_KEYED && (c->flags & PT_CLIENT_AUTHED) && b->s->cluster &&
      pt_command_arity_ok(cmd, f->argc)) {
    route_keyed(b, f, cmd, off);
    return true;
  }
  dispatch(b);
  char text[256];
  if (!cmd || unknown_sub) {
    unknown_command(c, c->tail++, f);
  } else if (!pt_command_arity_ok(cmd, f->argc)) {
    snprintf(text, sizeof text, "ERR wrong number of arguments for '%s' command", cmd->name);
    refuse(c, c->tail++, text);
  } else if (!(c->flags & PT_CLIENT_AUTHED) && !(cmd->flags & PT_CMD_NO_AUTH)) {
    refuse(c, c->tail++, "NOAUTH Authentication required.");
  } else if (cmd->verb == PT_VERB_LOCAL) {
    const pt_arg *args = all_args(f, b->chunk->data + off);
    pt_local done = args ? pt_local_run(c, cmd, args, f->argc, c->tail) : PT_LOCAL_WAIT;
    if (done == PT_LOCAL_WAIT)
      return false;
    if (done == PT_LOCAL_DONE)
      c->tail++;
    else
      gather(b, f, cmd, off, -1, NULL);
  } else if (!b->s->cluster) {
    refuse(c, c->tail++, "LOADING puerta is waiting for the cluster's topology");
  } else if (cmd->verb == PT_VERB_FAN) {
    const pt_arg *args = all_args(f, b->chunk->data + off);
    if (!args || pt_fan_start(c, cmd, args, f->argc, c->tail++))
      pt_client_close(c, "out of memory");
  } else if (cmd->verb == PT_VERB_ANY) {
    gather(b, f, cmd, off, -1, NULL);
  } else {
    snprintf(text, sizeof text, "ERR command '%s' is not supported through puerta yet", cmd->name);
    refuse(c, c->tail++, text);
  }
  return true;
}

uint32_t pt_route_input(pt_client *c, pt_chunk *chunk, uint32_t off, uint32_t n, uint64_t *need) {
  pt_service *s = c->svc;
  batch b = {.c = c, .s = s, .chunk = chunk};
  pt_resp_limits lim = {.max_bulk = s->lc->max_bulk, .max_args = PT_RESP_MAX_ARGS};
  uint32_t used = 0, gen = c->gen;
  *need = 0;
  while (used < n && c->gen == gen && c->tail - c->head < s->lc->max_pipeline) {
    pt_frame f;
    int r = pt_request_scan(chunk->data + off + used, n - used, &lim, &f);
    if (r == PT_RESP_MORE) {
      *need = f.need;
      break;
    }
    if (r == PT_RESP_BAD) {
      dispatch(&b);
      refuse(c, c->tail++, f.error);
      c->flags |= PT_CLIENT_CLOSING;
      return n;
    }
    if (f.argc && !route_frame(&b, &f, off + used)) {
      c->flags |= PT_CLIENT_PAUSED;
      break;
    }
    used += f.len;
  }
  dispatch(&b);
  if (c->gen == gen && c->tail - c->head >= s->lc->max_pipeline)
    c->flags |= PT_CLIENT_PAUSED;
  return used;
}
