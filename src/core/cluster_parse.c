/* From the reply of a node to a snapshot.
 * Sources: https://redis.io/docs/latest/commands/cluster-shards/ and https://redis.io/docs/latest/commands/cluster-slots/ */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cluster.h"

typedef struct parse {
  pt_cluster *c; /* room for PT_MAX_NODES */
  const pt_hostport *asked;
  bool tls;
  const pt_remap *remap;
  unsigned nremap;
  unsigned claimed; /* slots claimed so far, those claimed twice counted twice */
  const char *error;
} parse;

static int is_text(const pt_node *n) { return n && (n->type == '$' || n->type == '+'); }

static int is(const pt_node *n, const char *text) { return is_text(n) && n->n == strlen(text) && !memcmp(n->p, text, n->n); }

/* The value of a field of a map, or of an array of names and values; NULL: not there. */
static const pt_node *field(const pt_node *map, const char *name) {
  if (map->type == '*' || map->type == '%')
    for (const pt_node *k = map->child; k && k->next; k = k->next->next)
      if (is(k, name))
        return k->next;
  return NULL;
}

/* ---- addresses ---- */

/* 1: a host, copied to out; 0: the node gives none; -1: no host that could be used. */
static int host_text(const pt_node *n, char out[256]) {
  if (!n || n->type == '_' || is(n, "") || is(n, "?"))
    return 0;
  if (!is_text(n) || n->n > 255)
    return -1;
  for (uint32_t i = 0; i < n->n; i++)
    if (!isalnum(n->p[i]) && (!n->p[i] || !strchr(".-_:%", n->p[i])))
      return -1;
  memcpy(out, n->p, n->n);
  out[n->n] = 0;
  return 1;
}

/* Fills in where a node is reached. A NULL endpoint means the host that was asked, whatever ip says. 0, or -1: nowhere. */
static int place(const parse *p, const pt_node *endpoint, const pt_node *ip, const pt_node *port, pt_cluster_node *out) {
  int given = host_text(endpoint, out->name);
  if (!given && !(endpoint && endpoint->type == '_'))
    given = host_text(ip, out->name);
  if (given < 0 || !port || port->type != ':' || port->num < 1 || port->num > 65535)
    return -1;
  if (!given)
    snprintf(out->name, sizeof out->name, "%s", p->asked->host);
  out->port = (uint16_t)port->num;
  for (unsigned i = 0; i < p->nremap; i++) {
    const pt_remap *m = &p->remap[i];
    if (m->from.port != out->port || strcmp(m->from.host, out->name))
      continue;
    snprintf(out->name, sizeof out->name, "%s", m->to.host);
    out->port = m->to.port;
    break;
  }
  memcpy(out->host, out->name, sizeof out->host);
  return 0;
}

/* ---- nodes and slots ---- */

/* Adds a node, or merges it into the one at the same address: a master stays a master. master: index, PT_NODE_NONE: it is one itself.
 * Returns its index, PT_NODE_NONE: too many. */
static int16_t add(parse *p, const pt_cluster_node *n, int16_t master) {
  pt_cluster *c = p->c;
  int16_t i = 0;
  while (i < (int)c->nnodes && (c->nodes[i].port != n->port || strcmp(c->nodes[i].host, n->host)))
    i++;
  pt_cluster_node *at = &c->nodes[i];
  if (i == PT_MAX_NODES) {
    p->error = "it shows too many nodes";
    return PT_NODE_NONE;
  }
  if (i == (int)c->nnodes) {
    *at = *n;
    at->replica = master != PT_NODE_NONE;
    at->master = at->replica ? master : i;
    c->nnodes++;
  } else {
    at->healthy |= n->healthy;
    if (master == PT_NODE_NONE) {
      at->replica = false;
      at->master = i;
    }
  }
  return i;
}

/* Gives the slots from..to to a master. */
static void claim(parse *p, const pt_node *from, const pt_node *to, int16_t master) {
  pt_cluster *c = p->c;
  if (from->type != ':' || to->type != ':' || from->num < 0 || from->num > to->num || to->num >= PT_SLOTS) {
    p->error = "a slot range makes no sense";
    return;
  }
  p->claimed += (unsigned)(to->num - from->num + 1);
  if (p->claimed > 4 * PT_SLOTS) { /* stale masters explain a few */
    p->error = "its slot ranges overlap too much";
    return;
  }
  for (int64_t s = from->num; s <= to->num; s++)
    if (c->owner[s] == PT_NODE_NONE || (!c->nodes[c->owner[s]].healthy && c->nodes[master].healthy))
      c->owner[s] = master;
}

/* ---- CLUSTER SHARDS ---- */

static int shard_node(const parse *p, const pt_node *n, pt_cluster_node *out) {
  const pt_node *plain = field(n, "port"), *secure = field(n, "tls-port"), *health = field(n, "health"),
                *zone = field(n, "availability-zone");
  memset(out, 0, sizeof *out);
  if (place(p, field(n, "endpoint"), field(n, "ip"), secure && (p->tls || !plain) ? secure : plain, out))
    return -1;
  out->healthy = !health || is(health, "online");
  if (is_text(zone) && zone->n < sizeof out->zone && !memchr(zone->p, 0, zone->n))
    memcpy(out->zone, zone->p, zone->n);
  return 0;
}

/* The master of a shard: the first healthy one, else the first. */
static const pt_node *shard_master(const parse *p, const pt_node *nodes, pt_cluster_node *out) {
  const pt_node *found = NULL;
  pt_cluster_node one;
  for (const pt_node *n = nodes->child; n; n = n->next)
    if (is(field(n, "role"), "master") && !shard_node(p, n, &one) && (!found || (!out->healthy && one.healthy))) {
      found = n;
      *out = one;
    }
  return found;
}

static void read_shard(parse *p, const pt_node *shard) {
  const pt_node *nodes = field(shard, "nodes"), *slots = field(shard, "slots"), *lead;
  pt_cluster_node one;
  if (!nodes || nodes->type != '*') {
    p->error = "a shard without nodes";
    return;
  }
  if (!(lead = shard_master(p, nodes, &one)))
    return; /* between two masters: nobody to send the slots to */
  int16_t master = add(p, &one, PT_NODE_NONE);
  for (const pt_node *n = nodes->child; n && !p->error; n = n->next)
    if (n != lead && !shard_node(p, n, &one))
      add(p, &one, is(field(n, "role"), "master") ? PT_NODE_NONE : master);
  if (slots && slots->type == '*')
    for (const pt_node *s = slots->child; s && s->next && !p->error; s = s->next->next)
      claim(p, s, s->next, master);
}

/* ---- CLUSTER SLOTS ---- */

/* [host, port, id, ["ip", ...]] */
static int slots_node(const parse *p, const pt_node *n, pt_cluster_node *out) {
  memset(out, 0, sizeof *out);
  if (n->type != '*' || !n->child || !n->child->next)
    return -1;
  const pt_node *port = n->child->next, *more = port->next ? port->next->next : NULL;
  out->healthy = true;
  return place(p, n->child, more ? field(more, "ip") : NULL, port, out);
}

/* [from, to, master, replica...] */
static void read_range(parse *p, const pt_node *range) {
  const pt_node *from = range->child, *to = from->next;
  pt_cluster_node one;
  if (!to || !to->next) {
    p->error = "a slot range without a node";
    return;
  }
  if (slots_node(p, to->next, &one))
    return;
  int16_t master = add(p, &one, PT_NODE_NONE);
  for (const pt_node *n = to->next->next; n && !p->error; n = n->next)
    if (!slots_node(p, n, &one))
      add(p, &one, master);
  if (!p->error)
    claim(p, from, to, master);
}

/* ---- both ---- */

pt_cluster *pt_cluster_parse(const pt_node *reply, const pt_hostport *asked, bool tls, const pt_remap *remap, unsigned nremap,
                             char *err, size_t errsize) {
  parse p = {.asked = asked, .tls = tls, .remap = remap, .nremap = nremap};
  pt_cluster *c = p.c = malloc(sizeof *c + PT_MAX_NODES * sizeof c->nodes[0]);
  if (!c) {
    p.error = "out of memory";
    goto out;
  }
  atomic_init(&c->refs, 1);
  c->generation = 0;
  c->nnodes = 0;
  for (unsigned i = 0; i < PT_SLOTS; i++)
    c->owner[i] = PT_NODE_NONE;
  if (reply->type != '*')
    p.error = "not an answer to CLUSTER SHARDS or CLUSTER SLOTS";
  for (const pt_node *e = reply->child; e && !p.error; e = e->next) {
    if (e->type == '*' && e->child && e->child->type == ':')
      read_range(&p, e);
    else
      read_shard(&p, e);
  }
  if (!p.error && !c->nnodes)
    p.error = "it shows no nodes";
  if (!p.error && !(p.c = pt_cluster_arrange(c)))
    p.error = "out of memory";
out:
  if (!p.error)
    return p.c;
  snprintf(err, errsize, "%s", p.error);
  pt_cluster_unref(p.c);
  return NULL;
}
