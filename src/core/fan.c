#include "core/fan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/client.h"
#include "core/reply.h"
#include "core/told.h"

typedef struct part {
  uint32_t nkeys;
  uint32_t first, last; /* its keys, linked by next_of */
  uint32_t bytes; /* of its request */
  uint16_t slot;
  pt_kept reply;
  /* while the replies are merged */
  pt_chunk *flat; /* the reply in one piece */
  uint32_t at, end; /* what is left of it */
  bool failed;
} part;

struct pt_fanout {
  uint32_t index, gen, next_free; /* gen is odd while in use */
  pt_owner owner;
  uint8_t kind; /* pt_fan */
  uint32_t nkeys, nparts, left;
  uint64_t bytes; /* of replies so far */
  uint32_t born; /* us */
  part *parts;
  uint16_t *part_of; /* [nkeys] */
};

/* ---- the table ---- */

static pt_fanout *lookup(pt_worker *w, uint32_t index, uint32_t gen) {
  pt_fanout *f = index < w->nfans ? w->fans[index] : NULL;
  return f && f->gen == gen ? f : NULL;
}

static pt_fanout *take_free(pt_worker *w) {
  if (w->free_fan) {
    pt_fanout *f = w->fans[w->free_fan - 1];
    w->free_fan = f->next_free;
    return f;
  }
  if ((w->nfans & (w->nfans - 1)) == 0) {
    pt_fanout **more = realloc(w->fans, (w->nfans ? w->nfans * 2 : 1) * sizeof(pt_fanout *));
    if (!more)
      return NULL;
    w->fans = more;
  }
  pt_fanout *f = calloc(1, sizeof *f);
  if (!f)
    return NULL;
  f->index = w->nfans;
  return w->fans[w->nfans++] = f;
}

static void fan_end(pt_worker *w, pt_fanout *f) {
  for (uint32_t i = 0; i < f->nparts; i++) {
    pt_kept_clear(&f->parts[i].reply);
    if (f->parts[i].flat)
      pt_chunk_unref(f->parts[i].flat);
  }
  free(f->parts);
  f->parts = NULL;
  f->nparts = 0;
  f->gen++;
  f->next_free = w->free_fan;
  w->free_fan = f->index + 1;
}

bool pt_fan_owner(pt_worker *w, pt_owner *who) {
  pt_fanout *f = lookup(w, who->index, who->gen);
  if (f)
    *who = f->owner;
  return f != NULL;
}

void pt_fan_cancel(pt_worker *w, pt_owner who) {
  pt_fanout *f = lookup(w, who.index, who.gen);
  if (f)
    fan_end(w, f);
}

/* ---- splitting ---- */

static uint32_t bulk_size(uint32_t n) {
  uint32_t digits = 1;
  for (uint32_t v = n; v >= 10; v /= 10)
    digits++;
  return digits + n + 5;
}

static uint8_t *put_number(uint8_t *p, char type, uint32_t n) {
  uint8_t digits[10];
  unsigned k = 0;
  do
    digits[k++] = (uint8_t)('0' + n % 10);
  while (n /= 10);
  *p++ = (uint8_t)type;
  while (k)
    *p++ = digits[--k];
  *p++ = '\r';
  *p++ = '\n';
  return p;
}

static uint8_t *put_bulk(uint8_t *p, const void *bytes, uint32_t n) {
  p = put_number(p, '$', n);
  memcpy(p, bytes, n);
  memcpy(p + n, "\r\n", 2);
  return p + n + 2;
}

/* Which slots there are: one part for each, in the order of their first keys. Returns how many. */
static uint32_t find_parts(pt_worker *w, const pt_arg *args, uint32_t step, uint32_t nkeys, uint16_t *part_of, uint32_t *next_of,
                           part *parts) {
  uint32_t n = 0;
  w->epoch++;
  for (uint32_t i = 0; i < nkeys; i++) {
    const pt_arg *a = &args[1 + i * step];
    uint16_t slot = pt_key_slot(a->p, a->n);
    if (w->stamp[slot] != w->epoch) {
      w->stamp[slot] = w->epoch;
      w->part[slot] = (uint16_t)n;
      parts[n++] = (part){.slot = slot, .first = i, .last = i};
    }
    part *p = &parts[part_of[i] = w->part[slot]];
    next_of[p->last] = i;
    p->last = i;
    p->nkeys++;
    for (uint32_t k = 0; k < step; k++)
      p->bytes += bulk_size(a[k].n);
  }
  return n;
}

/* The request of part k, into a chunk with room for it. Returns where it ends. */
static uint8_t *write_part(const part *of, const pt_command *cmd, const pt_arg *args, uint32_t step, const uint32_t *next_of,
                           uint8_t *p) {
  p = put_number(p, '*', 1 + of->nkeys * step);
  p = put_bulk(p, cmd->name, (uint32_t)strlen(cmd->name));
  for (uint32_t i = of->first, left = of->nkeys; left; left--, i = next_of[i])
    for (uint32_t j = 0; j < step; j++)
      p = put_bulk(p, args[1 + i * step + j].p, args[1 + i * step + j].n);
  return p;
}

static pt_chunk *scratch_ref(pt_worker *w, uint32_t room) {
  pt_chunk *chunk = pt_worker_scratch(w, room);
  return chunk ? pt_chunk_ref(chunk) : NULL;
}

int pt_fan_start(pt_batch *b, const pt_command *cmd, const pt_arg *args, uint32_t argc, uint32_t seq, int *slot) {
  pt_client *c = b->c;
  pt_worker *w = c->svc->worker;
  uint32_t step = cmd->fan == PT_FAN_MSET ? 2 : 1, nkeys = (argc - 1) / step, max = nkeys < PT_SLOTS ? nkeys : PT_SLOTS;
  *slot = nkeys ? pt_key_slot(args[1].p, args[1].n) : -1;
  if (nkeys <= 1 || (argc - 1) % step)
    return 1;
  part *parts = malloc(max * sizeof *parts + nkeys * (sizeof(uint32_t) + sizeof(uint16_t)));
  if (!parts)
    return -ENOMEM;
  uint32_t *next_of = (uint32_t *)(parts + max);
  uint16_t *part_of = (uint16_t *)(next_of + nkeys);
  uint32_t nparts = find_parts(w, args, step, nkeys, part_of, next_of, parts);
  pt_fanout *f = nparts > 1 ? take_free(w) : NULL;
  if (!f) {
    free(parts);
    return nparts > 1 ? -ENOMEM : 1;
  }
  *f = (pt_fanout){.index = f->index,
                   .gen = f->gen + 1,
                   .owner = pt_client_owner(c, seq),
                   .kind = cmd->fan,
                   .nkeys = nkeys,
                   .nparts = nparts,
                   .left = nparts,
                   .born = w->now_us,
                   .parts = parts,
                   .part_of = part_of};
  for (uint32_t k = 0, gen = f->gen; k < nparts && f->gen == gen; k++) {
    const part *p = &f->parts[k];
    uint32_t room = p->bytes + 64;
    pt_chunk *chunk = room <= PT_CHUNK_SMALL ? scratch_ref(w, room) : pt_chunk_new(&w->pool, room);
    pt_owner who = {.index = f->index, .kind = PT_KIND_FAN, .gen = f->gen, .seq = k};
    if (!chunk) {
      pt_reply_error(w, who, PT_E_MEMORY, "OOM puerta is out of memory; request not sent");
      continue;
    }
    uint32_t off = chunk->fill;
    uint8_t *end = write_part(p, cmd, args, step, next_of, chunk->data + off);
    chunk->fill = (uint32_t)(end - chunk->data);
    pt_batch_add(b, who, seq, chunk, off, chunk->fill - off, true, cmd, 1 + p->nkeys * step, p->slot, &args[1 + p->first * step]);
  }
  return 0;
}

/* ---- merging ---- */

/* The part's reply in one piece. 0 or -ENOMEM. */
static int flatten(pt_worker *w, part *p) {
  unsigned n = pt_kept_pieces(&p->reply);
  if (n == 1) {
    p->flat = pt_chunk_ref(p->reply.chunk);
    p->at = p->reply.off;
    p->end = p->at + p->reply.len;
    return 0;
  }
  uint64_t total = p->reply.len + p->reply.more->bytes;
  if (!(p->flat = pt_chunk_exact(&w->pool, total)))
    return -ENOMEM;
  for (unsigned i = 0; i < n; i++) {
    pt_seg s = pt_kept_piece(&p->reply, i);
    memcpy(p->flat->data + p->end, s.chunk->data + s.off, s.len);
    p->end += s.len;
  }
  return 0;
}

/* An array of as many elements as the part has keys: *at moves behind its header. */
static bool open_array(part *p) {
  char head[16];
  int n = snprintf(head, sizeof head, "*%u\r\n", p->nkeys);
  if (p->end - p->at < (uint32_t)n || memcmp(p->flat->data + p->at, head, (size_t)n))
    return false;
  p->at += (uint32_t)n;
  return true;
}

static const char odd_reply[] = "-ERR a node gave an answer of another shape than the command has (PT-B09)\r\n";

static void merge_mget(pt_worker *w, pt_fanout *f) {
  char head[16];
  int n = snprintf(head, sizeof head, "*%u\r\n", f->nkeys);
  pt_chunk *top = pt_chunk_exact(&w->pool, sizeof odd_reply + sizeof head);
  if (!top) {
    pt_reply_broken(w, f->owner, PT_E_MEMORY, "out of memory");
    return;
  }
  memcpy(top->data, head, (size_t)n);
  memcpy(top->data + sizeof head, odd_reply, sizeof odd_reply - 1);
  pt_reply_to(w, f->owner, top, 0, (uint32_t)n, false);
  for (uint32_t i = 0; i < f->nparts; i++)
    f->parts[i].failed = !open_array(&f->parts[i]);
  pt_reply scan = {0};
  for (uint32_t i = 0; i < f->nkeys; i++) {
    part *p = &f->parts[f->part_of[i]];
    size_t used = 0;
    bool last = i + 1 == f->nkeys;
    if (p->failed && p->flat->data[p->at] == '-') {
      pt_reply_to(w, f->owner, p->flat, p->at, p->end - p->at, last);
    } else if (p->failed || pt_reply_scan(&scan, p->flat->data + p->at, p->end - p->at, &used) != PT_RESP_OK) {
      memset(&scan, 0, sizeof scan);
      pt_told_count(w, PT_E_ODD_REPLY);
      pt_reply_to(w, f->owner, top, sizeof head, sizeof odd_reply - 1, last);
    } else {
      pt_reply_to(w, f->owner, p->flat, p->at, (uint32_t)used, last);
      p->at += (uint32_t)used;
    }
  }
  pt_chunk_unref(top);
}

/* The number of a ":n" reply, -1: it is something else. */
static long long integer(const part *p) {
  char text[24] = {0};
  uint32_t n = p->end - p->at;
  if (n < 4 || n > 23 || p->flat->data[p->at] != ':')
    return -1;
  memcpy(text, p->flat->data + p->at + 1, n - 3);
  return atoll(text);
}

static void merge_rest(pt_worker *w, pt_fanout *f) {
  const part *bad = NULL;
  uint32_t keys_failed = 0;
  long long sum = 0;
  for (uint32_t i = 0; i < f->nparts; i++) {
    const part *p = &f->parts[i];
    long long v = f->kind == PT_FAN_MSET ? (p->flat->data[p->at] == '+' ? 0 : -1) : integer(p);
    if (v >= 0) {
      sum += v;
      continue;
    }
    keys_failed += p->nkeys;
    bad = bad ? bad : p;
  }
  char text[64];
  if (bad) {
    int n = (int)(bad->end - bad->at) - 3;
    bool error = bad->flat->data[bad->at] == '-' && n > 0;
    pt_reply_error(w, f->owner, PT_E_PART_FAILED, "%.*s (%u of %u keys failed, the others were done)",
                   error ? (n < 300 ? n : 300) : (int)sizeof odd_reply - 4,
                   error ? (const char *)bad->flat->data + bad->at + 1 : odd_reply + 1, keys_failed, f->nkeys);
  } else if (f->kind == PT_FAN_MSET) {
    pt_reply_bytes(w, f->owner, "+OK\r\n", 5);
  } else {
    pt_reply_bytes(w, f->owner, text, (size_t)snprintf(text, sizeof text, ":%lld\r\n", sum));
  }
}

static void merge(pt_worker *w, pt_fanout *f) {
  for (uint32_t i = 0; i < f->nparts; i++)
    if (flatten(w, &f->parts[i])) {
      pt_reply_broken(w, f->owner, PT_E_MEMORY, "out of memory");
      return;
    }
  if (f->kind == PT_FAN_MGET)
    merge_mget(w, f);
  else
    merge_rest(w, f);
}

void pt_fan_reply(pt_worker *w, pt_owner who, pt_chunk *chunk, uint32_t off, uint32_t len, bool last) {
  pt_fanout *f = lookup(w, who.index, who.gen);
  if (!f || who.seq >= f->nparts)
    return;
  pt_client *c = pt_client_get(w, f->owner.index, f->owner.gen);
  f->bytes += len;
  int e = c ? pt_kept_add(&f->parts[who.seq].reply, chunk, off, len) : -ECANCELED;
  if (!e && f->bytes > c->svc->lc->client_buffer)
    e = -ENOBUFS;
  if (e) {
    fan_end(w, f); /* before the client, which forgets its fans too */
    if (c)
      pt_client_fail(c, e == -ENOMEM ? PT_E_MEMORY : PT_E_UNREAD,
                     e == -ENOMEM ? "out of memory" : "its reply is larger than client_buffer");
  } else if (last && --f->left == 0) {
    pt_histogram_add(&c->svc->meter.latency[PT_WORK_FAN], w->now_us - f->born, 1);
    merge(w, f);
    fan_end(w, f);
  }
}

void pt_fan_free_all(pt_worker *w) {
  for (uint32_t i = 0; i < w->nfans; i++) {
    if (w->fans[i]->gen & 1)
      fan_end(w, w->fans[i]);
    free(w->fans[i]);
  }
  free(w->fans);
}
