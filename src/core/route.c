#include "core/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/fan.h"
#include "core/local.h"
#include "core/reply.h"
#include "core/stream.h"

enum {
  CHECK_KEYS = 64,
  UNAUTHED_ARGS = 10,
  UNAUTHED_BULK = 16 * 1024
}; /* before AUTH: Redis' own limits */

static inline pt_resp_limits limits(const pt_client *c) {
  if (c->flags & PT_CLIENT_AUTHED)
    return (pt_resp_limits){.max_bulk = c->svc->lc->max_bulk, .max_args = PT_RESP_MAX_ARGS};
  return (pt_resp_limits){.max_bulk = UNAUTHED_BULK, .max_args = UNAUTHED_ARGS};
}

/* A browser that was made to speak to us (cross protocol scripting): Redis hangs up on these words too. */
static bool is_http(const pt_arg *word) {
  return (word->n == 4 && !strncasecmp((const char *)word->p, "POST", 4)) ||
         (word->n == 5 && !strncasecmp((const char *)word->p, "Host:", 5));
}

static inline pt_owner next_owner(pt_client *c) { return pt_client_owner(c, c->tail++); }

/* As the server says it: the name and the first arguments, 128 bytes of each at most. */
static void unknown_command(pt_client *c, const pt_frame *f) {
  char args[160] = "";
  size_t n = 0;
  for (unsigned i = 1; i < f->nargs && n < 128; i++)
    n += (size_t)snprintf(args + n, sizeof args - n, "'%.*s' ", (int)(f->args[i].n < 128 - n ? f->args[i].n : 128 - n),
                          (const char *)f->args[i].p);
  pt_reply_error(c->svc->worker, next_owner(c), PT_E_UNKNOWN_COMMAND, "ERR unknown command '%.*s', with args beginning with: %s",
                 (int)(f->args[0].n < 128 ? f->args[0].n : 128), (const char *)f->args[0].p, args);
}

static void unknown_subcommand(pt_client *c, const pt_command *cmd, const pt_frame *f) {
  char name[32];
  snprintf(name, sizeof name, "%s", cmd->name);
  for (char *p = name; *p; p++)
    *p = *p >= 'a' && *p <= 'z' ? (char)(*p - 32) : *p;
  pt_reply_error(c->svc->worker, next_owner(c), PT_E_UNKNOWN_COMMAND, "ERR unknown subcommand '%.*s'. Try %s HELP.",
                 (int)(f->args[1].n < 128 ? f->args[1].n : 128), (const char *)f->args[1].p, name);
}

static void wrong_arity(pt_client *c, const pt_command *cmd) {
  pt_reply_error(c->svc->worker, next_owner(c), PT_E_ARGUMENTS, "ERR wrong number of arguments for '%s' command", cmd->name);
}

/* All arguments of a frame, in memory that serves until the next call. NULL: no memory. */
static const pt_arg *all_args(pt_worker *w, const pt_frame *f, const uint8_t *frame) {
  if (f->argc <= PT_FRAME_ARGS)
    return f->args;
  if (f->argc > w->cap_args) {
    pt_arg *more = realloc(w->args, f->argc * sizeof *more);
    if (!more)
      return NULL;
    w->args = more;
    w->cap_args = f->argc;
  }
  pt_request_args(frame, f->len, w->args, f->argc);
  return w->args;
}

static inline void add(pt_batch *b, const pt_frame *f, const pt_command *cmd, pt_chunk *chunk, uint32_t off, int slot,
                       const pt_arg *key) {
  pt_owner who = next_owner(b->c);
  pt_batch_add(b, who, who.seq, chunk, off, f->len, false, cmd, f->argc, slot, key);
}

/* All keys in one slot: that slot, *first is a key; none, or a server must judge them: -1; several slots: -2. */
static int slot_of(const pt_command *cmd, const pt_arg *args, uint32_t argc, const pt_arg **first) {
  uint32_t few[CHECK_KEYS], *keys = few;
  int n = pt_command_keys(cmd, args, argc, few, CHECK_KEYS), slot = -1;
  *first = NULL;
  if (n > CHECK_KEYS) {
    if (!(keys = malloc((size_t)n * sizeof *keys)))
      return -2;
    n = pt_command_keys(cmd, args, argc, keys, (uint32_t)n);
  }
  for (int i = 0; i < n && slot != -2; i++) {
    int k = pt_key_slot(args[keys[i]].p, args[keys[i]].n);
    *first = *first ? *first : &args[keys[i]];
    slot = slot >= 0 && k != slot ? -2 : k;
  }
  if (keys != few)
    free(keys);
  return slot;
}

/* XREAD [COUNT n] [BLOCK ms] STREAMS ..., XREADGROUP GROUP g c ... */
static bool has_block(const pt_command *cmd, const pt_arg *args, uint32_t argc) {
  for (uint32_t i = strcmp(cmd->name, "xreadgroup") ? 1 : 4;
       i < argc && !(args[i].n == 7 && !strncasecmp((const char *)args[i].p, "STREAMS", 7)); i++)
    if (args[i].n == 5 && !strncasecmp((const char *)args[i].p, "BLOCK", 5))
      return true;
  return false;
}

/* A command whose keys only a full look finds. */
static void route_keys(pt_batch *b, const pt_frame *f, const pt_command *cmd, pt_chunk *chunk, uint32_t off) {
  pt_client *c = b->c;
  pt_worker *w = c->svc->worker;
  const pt_arg *key, *args = all_args(c->svc->worker, f, chunk->data + off);
  if (!args)
    pt_reply_error(w, next_owner(c), PT_E_MEMORY, "OOM puerta is out of memory; request not sent");
  else if ((cmd->flags & PT_CMD_BLOCKING) && has_block(cmd, args, f->argc))
    pt_reply_error(w, next_owner(c), PT_E_UNSUPPORTED, "ERR '%s' with BLOCK is not supported through puerta yet", cmd->name);
  else {
    int slot = slot_of(cmd, args, f->argc, &key);
    if (slot == -2)
      pt_reply_error(w, next_owner(c), PT_E_CROSS_SLOT, "CROSSSLOT Keys in request don't hash to the same slot");
    else
      add(b, f, cmd, chunk, off, slot, key);
  }
}

/* A command with keys; in most there is one, and the scan has found it. */
static inline void route_keyed(pt_batch *b, const pt_frame *f, const pt_command *cmd, pt_chunk *chunk, uint32_t off) {
  if (cmd->keyspec == PT_KEYS_RANGE && cmd->first == cmd->last && (uint32_t)cmd->first < f->nargs) {
    const pt_arg *key = &f->args[cmd->first];
    add(b, f, cmd, chunk, off, pt_key_slot(key->p, key->n), key);
  } else {
    route_keys(b, f, cmd, chunk, off);
  }
}

static void route_fan(pt_batch *b, const pt_frame *f, const pt_command *cmd, pt_chunk *chunk, uint32_t off) {
  pt_client *c = b->c;
  const pt_arg *args = all_args(c->svc->worker, f, chunk->data + off);
  int slot, r = args ? pt_fan_start(b, cmd, args, f->argc, c->tail, &slot) : -1;
  if (r > 0)
    add(b, f, cmd, chunk, off, slot, args + 1);
  else if (r == 0)
    c->tail++;
  else
    pt_reply_error(c->svc->worker, next_owner(c), PT_E_MEMORY, "OOM puerta is out of memory; request not sent");
}

/* CONFIG GET is for tools that look at a few harmless settings first; a pattern could show passwords. */
static bool config_may_go(const pt_arg *args, uint32_t argc) {
  static const char *const harmless[] = {"save", "appendonly", "databases", "maxmemory", "maxmemory-policy", "timeout"};
  for (uint32_t i = 2; i < argc; i++) {
    bool found = false;
    for (size_t k = 0; k < sizeof harmless / sizeof *harmless && !found; k++)
      found = args[i].n == strlen(harmless[k]) && !strncasecmp((const char *)args[i].p, harmless[k], args[i].n);
    if (!found)
      return false;
  }
  return true;
}

/* A command that any master may answer. */
static void route_any(pt_batch *b, const pt_frame *f, const pt_command *cmd, pt_chunk *chunk, uint32_t off) {
  pt_client *c = b->c;
  const pt_arg *args = all_args(c->svc->worker, f, chunk->data + off);
  if (!strcmp(cmd->name, "config|get") && !(args && config_may_go(args, f->argc)))
    pt_reply_error(
        c->svc->worker, next_owner(c), PT_E_UNSUPPORTED,
        "ERR 'config|get' through puerta shows save, appendonly, databases, maxmemory, maxmemory-policy and timeout only");
  else
    add(b, f, cmd, chunk, off, -1, NULL);
}

/* Everything but the usual case. False: it has to wait until nothing of its connection is in flight; nothing was done. */
static bool route_other(pt_batch *b, const pt_frame *f, const pt_command *cmd, int unknown_sub, pt_chunk *chunk, uint32_t off) {
  pt_client *c = b->c;
  pt_worker *w = c->svc->worker;
  if (!cmd && is_http(&f->args[0]))
    pt_client_fail(c, PT_E_HTTP, "it speaks HTTP");
  else if (!cmd)
    unknown_command(c, f);
  else if (unknown_sub && f->argc > 1)
    unknown_subcommand(c, cmd, f);
  else if (!pt_command_arity_ok(cmd, f->argc) || unknown_sub)
    wrong_arity(c, cmd);
  else if (!(c->flags & PT_CLIENT_AUTHED) && !(cmd->flags & PT_CMD_NO_AUTH))
    pt_reply_error(w, next_owner(c), PT_E_NOT_AUTHENTICATED, "NOAUTH Authentication required.");
  else if (cmd->verb == PT_VERB_LOCAL) {
    const pt_arg *args = all_args(c->svc->worker, f, chunk->data + off);
    uint32_t gen = c->gen;
    pt_batch_dispatch(b);
    if (c->gen != gen)
      return true;
    if (args)
      return pt_local_run(c, cmd, args, f->argc);
    pt_reply_error(w, next_owner(c), PT_E_MEMORY, "OOM puerta is out of memory");
  } else if (cmd->verb == PT_VERB_LATER)
    pt_reply_error(w, next_owner(c), PT_E_UNSUPPORTED, "ERR '%s' is not supported through puerta yet", cmd->name);
  else if (!c->svc->cluster)
    pt_reply_error(w, next_owner(c), PT_E_NO_CLUSTER, "CLUSTERDOWN puerta has not reached the cluster yet; request not sent");
  else if (cmd->verb == PT_VERB_FAN)
    route_fan(b, f, cmd, chunk, off);
  else if (cmd->verb == PT_VERB_ANY)
    route_any(b, f, cmd, chunk, off);
  else
    route_keyed(b, f, cmd, chunk, off);
  return true;
}

/* The command of a frame. Most requests name the command of the one before them, in the same letters. */
static inline const pt_command *find(pt_batch *b, const pt_frame *f, int *unknown_sub) {
  const pt_arg *name = f->args;
  *unknown_sub = 0;
  if (b->last && name->n == b->last_len && !memcmp(name->p, b->last_name, name->n))
    return b->last;
  const pt_command *cmd = pt_command_find(f->args, f->nargs, unknown_sub);
  b->last = cmd && !strchr(cmd->name, '|') && !(cmd->flags & PT_CMD_CONTAINER) && name->n <= sizeof b->last_name ? cmd : NULL;
  if (b->last)
    memcpy(b->last_name, name->p, b->last_len = name->n);
  return cmd;
}

static inline bool route_frame(pt_batch *b, const pt_frame *f, pt_chunk *chunk, uint32_t off) {
  int unknown_sub;
  const pt_command *cmd = find(b, f, &unknown_sub);
  if (cmd && cmd->verb == PT_VERB_KEYED && !unknown_sub && (b->c->flags & PT_CLIENT_AUTHED) && b->c->svc->cluster &&
      pt_command_arity_ok(cmd, f->argc)) {
    route_keyed(b, f, cmd, chunk, off);
    return true;
  }
  return route_other(b, f, cmd, unknown_sub, chunk, off);
}

/* An inline command becomes the frame it stands for. False: as route_frame. */
static bool route_inline(pt_batch *b, const uint8_t *line, uint32_t n) {
  pt_client *c = b->c;
  pt_worker *w = c->svc->worker;
  pt_chunk *chunk = pt_chunk_new(&w->pool, 8 * (size_t)n + 32);
  pt_resp_limits lim = limits(c);
  pt_frame f = {0};
  bool done = true;
  long len = chunk ? pt_inline_to_resp(line, n, chunk->data, chunk->cap) : -2;
  if (len < 0) {
    pt_reply_error(w, next_owner(c), len == -1 ? PT_E_BAD_REQUEST : PT_E_MEMORY, "%s",
                   len == -1 ? "ERR Protocol error: unbalanced quotes in request" : "OOM puerta is out of memory");
    c->flags |= PT_CLIENT_CLOSING;
  } else if (len > 0 && pt_request_scan(chunk->data, (size_t)len, &lim, &f) == PT_RESP_OK && f.argc) {
    chunk->fill = (uint32_t)len;
    done = route_frame(b, &f, chunk, 0);
  }
  pt_batch_dispatch(b);
  if (chunk)
    pt_chunk_unref(chunk);
  return done;
}

/* What is wrong with the request at buf: too much only for one who has not authenticated, or for everybody. */
static const char *complaint(const pt_client *c, const pt_frame *f, const uint8_t *buf, uint32_t n) {
  pt_resp_limits all = {.max_bulk = c->svc->lc->max_bulk, .max_args = PT_RESP_MAX_ARGS};
  pt_frame again;
  if ((c->flags & PT_CLIENT_AUTHED) || pt_request_scan(buf, n, &all, &again) == PT_RESP_BAD)
    return f->error;
  return strstr(f->error, "multibulk") ? "ERR Protocol error: unauthenticated multibulk length"
                                       : "ERR Protocol error: unauthenticated bulk length";
}

/* A protocol error is the last answer of its connection. */
static void protocol_error(pt_batch *b, const char *text) {
  pt_batch_dispatch(b);
  pt_reply_error(b->c->svc->worker, next_owner(b->c), PT_E_BAD_REQUEST, "%s", text);
  b->c->flags |= PT_CLIENT_CLOSING;
}

static inline __attribute__((always_inline)) uint32_t route_input(pt_client *c, pt_chunk *chunk, uint32_t off, uint32_t n,
                                                                  uint64_t *need) {
  pt_service *s = c->svc;
  pt_batch b;
  b.c = c;
  b.n = 0;
  b.last = NULL;
  pt_resp_limits lim = limits(c);
  uint32_t used = 0, gen = c->gen;
  while (used < n && c->gen == gen && !(c->flags & PT_CLIENT_CLOSING)) {
    if (c->tail - c->head >= s->lc->max_pipeline) {
      pt_batch_dispatch(&b); /* what it answers itself makes room */
      if (c->gen != gen || c->tail - c->head >= s->lc->max_pipeline)
        break;
    }
    pt_frame f;
    if (!(c->flags & PT_CLIENT_AUTHED) || lim.max_args == UNAUTHED_ARGS)
      lim = limits(c);
    int r = pt_request_scan(chunk->data + off + used, n - used, &lim, &f);
    if (r == PT_RESP_BAD) {
      protocol_error(&b, complaint(c, &f, chunk->data + off + used, n - used));
      return n;
    }
    if (r == PT_RESP_MORE) {
      *need = f.need;
      if (f.need <= s->lc->stream_above)
        break;
      pt_batch_dispatch(&b);
      if (c->gen == gen && pt_stream_start(c, &f, chunk, off + used, n - used))
        used = n;
      return used;
    }
    bool done = f.inlined ? route_inline(&b, chunk->data + off + used, f.len) : !f.argc || route_frame(&b, &f, chunk, off + used);
    if (!done) {
      c->flags |= PT_CLIENT_BARRIER;
      break;
    }
    used += f.len;
  }
  pt_batch_dispatch(&b);
  if (c->gen == gen && c->tail - c->head >= s->lc->max_pipeline)
    c->flags |= PT_CLIENT_FULL;
  return c->flags & PT_CLIENT_CLOSING ? n : used;
}

uint32_t pt_route_input(pt_client *c, pt_chunk *chunk, uint32_t off, uint32_t n, uint64_t *need) {
  uint32_t before = c->tail, used = route_input(c, chunk, off, n, need);
  pt_count_add(&c->svc->meter.requests, c->tail - before);
  pt_count_add(&c->svc->worker->n.requests, c->tail - before);
  return used;
}
