/* What a policy call costs: ns and bytes of garbage per request, trace aborts after warm-up, for batches of 1, 4, 16 and 64.
 * Targets: < 50 ns alone, < 20 ns from 16 on, no garbage, no aborts. Exit 1 only when a policy cannot be loaded. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/crc16.h"
#include "core/policy.h"
#include "script/policy_lua.h"
#include "wire/command.h"

enum {
  MASTERS = 3,
  REPLICAS = 2,
  NODES = MASTERS * (1 + REPLICAS),
  POOL = 8192,
  KEY = 32,
  PASS = 1 << 18,
  PASSES = 9
};

static pt_view_node nodes[NODES];
static int16_t owner[PT_SLOTS];
static pt_request pool[POOL]; /* requests drawn beforehand, so that drawing them is no part of the measure */
static char keys[POOL][KEY];

static void build_cluster(void) {
  for (int i = 0; i < NODES; i++) {
    pt_view_node *n = &nodes[i];
    int master = i % MASTERS;
    snprintf(n->host, sizeof n->host, "10.0.%d.%d", i / MASTERS + 1, i + 1);
    n->port = 6379;
    n->up = 1;
    n->replica = i >= MASTERS;
    n->master = (int16_t)master;
    if (n->replica)
      nodes[master].replicas[nodes[master].nreplicas++] = (int16_t)i;
  }
  for (int s = 0; s < PT_SLOTS; s++)
    owner[s] = (int16_t)(s * MASTERS / PT_SLOTS);
}

static void build_requests(void) {
  static const char *const kinds[] = {"user:%08x:name", "tenant-a:cart:%x", "session:%08x", "c:%x"};
  unsigned seed = 42;
  for (int i = 0; i < POOL; i++) {
    int n = snprintf(keys[i], KEY, kinds[rand_r(&seed) % 4], (unsigned)rand_r(&seed));
    pool[i] = (pt_request){.key = (uint8_t *)keys[i],
                           .key_len = (uint32_t)n,
                           .frame = (uint8_t *)keys[i],
                           .frame_len = 64,
                           .flags = rand_r(&seed) % 10 < 7 ? PT_CMD_READONLY : PT_CMD_WRITE,
                           .slot = pt_key_slot((uint8_t *)keys[i], (size_t)n),
                           .argc = 2,
                           .client = (uint32_t)i,
                           .node = PT_ROUTE_DEFAULT};
  }
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Asks for PASS requests; the load of the nodes drifts as it would. Without p only what surrounds the calls. */
static double pass(pt_policy *p, pt_request *batch, unsigned n) {
  static unsigned at;
  double t = now();
  for (unsigned done = 0; done < PASS; done += n) {
    if (at + n > POOL)
      at = 0;
    memcpy(batch, &pool[at], n * sizeof *batch);
    at += n;
    nodes[(done * 7 + at) % NODES].inflight = (at * 2654435761u) >> 28;
    if (p)
      p->route(p, n);
  }
  return (now() - t) / PASS;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(pt_policy *p, pt_request *batch, unsigned n) {
  double t[PASSES];
  for (int i = 0; i < PASSES; i++)
    t[i] = pass(p, batch, n);
  qsort(t, PASSES, sizeof *t, ascending);
  return t[PASSES / 2];
}

static void row(const char *name, pt_policy *p, unsigned n, int lua) {
  for (int i = 0; i < 4; i++)
    pass(p, p->batch, n);
  uint64_t aborts = p->aborts, failures = p->failures;
  size_t heap = lua ? pt_policy_lua_heap(p) : 0;
  double garbage = 0, around = median(NULL, p->batch, n), ns = median(p, p->batch, n) - around;
  if (lua)
    garbage = ((double)pt_policy_lua_heap(p) - (double)heap) / ((double)PASS * PASSES);
  double limit = n == 1 ? 50 : n >= 16 ? 20 : 0;
  int ok = (limit == 0 || ns < limit) && garbage == 0 && p->aborts == aborts && p->failures == failures;
  printf("%-56s %5u %8.1f %10.3f %7llu   %s\n", name, n, ns, garbage, (unsigned long long)(p->aborts - aborts),
         ok ? "pass" : "falls short");
  if (p->failures != failures)
    printf("    %llu failed calls: %s\n", (unsigned long long)(p->failures - failures), p->error);
}

static int bench(const char *name, const char *opts) {
  char err[512], title[96];
  pt_policy_config pc = {.name = (char *)name, .opts = (char *)opts, .where = "bench"};
  int lua = strcmp(name, "c") != 0;
  pt_policy *p = lua ? pt_policy_lua(&pc, getenv("PUERTA_LUA_PATH"), err, sizeof err) : pt_policy_c();
  if (!p) {
    fprintf(stderr, "bench_policy: %s\n", lua ? err : "no memory");
    return 1;
  }
  p->view->generation = 1;
  p->view->nnodes = NODES;
  p->view->owner = owner;
  p->view->nodes = nodes;
  const char *base = strrchr(name, '/');
  snprintf(title, sizeof title, "%s %s", base ? base + 1 : name, opts);
  static const unsigned sizes[] = {1, 4, 16, 64};
  for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++)
    row(title, p, sizes[i], lua);
  p->free(p);
  return 0;
}

int main(int argc, char **argv) {
  build_cluster();
  build_requests();
  printf("%-56s %5s %8s %10s %7s\n", "policy", "batch", "ns/req", "garbage B", "aborts");
  if (argc > 1) { /* files of one's own */
    int bad = 0;
    for (int i = 1; i < argc; i++)
      bad |= bench(argv[i], "{}");
    return bad;
  }
  return bench("c", "") | bench("slot_owner", "{}") | bench("read_replica", "{}") | bench("read_replica", "{prefer='any'}") |
         bench("read_near", "{zone='a', zones={['10.0.2.']='a'}}") |
         bench("scripts/examples/tenant_replica.lua", "{prefix='tenant-a:'}") |
         bench("scripts/examples/reject_prefix.lua", "{prefix='session:', only='write'}") |
         bench("scripts/examples/canary_reads.lua", "{node='10.0.2.4:6379', percent=20}");
}
