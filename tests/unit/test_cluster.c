/* Snapshots from what nodes say: CLUSTER SHARDS in RESP2 and RESP3, CLUSTER SLOTS, as servers send them and as nobody should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <ctype.h>
#include <stdio.h>

#include "core/cluster.h"

/* ---- replies, written short ----
 * [a b] array, {name value} map (RESP2: an array), numbers, words (bulk strings), ~ NULL, '' the empty string */

static int resp3;

static const char *encode(const char *s, FILE *out) {
  s += strspn(s, " \n");
  if (*s != '[' && *s != '{') {
    size_t n = strcspn(s, " \n[]{}");
    if (*s == '~')
      fputs(resp3 ? "_\r\n" : "$-1\r\n", out);
    else if (isdigit(s[*s == '-']) && (*s == '-') + strspn(s + (*s == '-'), "0123456789") >= n)
      fprintf(out, ":%.*s\r\n", (int)n, s);
    else if (n >= 2 && *s == '\'')
      fprintf(out, "$%zu\r\n%.*s\r\n", n - 2, (int)n - 2, s + 1);
    else
      fprintf(out, "$%zu\r\n%.*s\r\n", n, (int)n, s);
    return s + n;
  }
  char close = *s == '[' ? ']' : '}', *text;
  size_t size, n = 0;
  FILE *inner = open_memstream(&text, &size);
  for (s++; s += strspn(s, " \n"), *s != close; n++)
    s = encode(s, inner);
  fclose(inner);
  int map = close == '}' && resp3;
  fprintf(out, "%c%zu\r\n", map ? '%' : '*', map ? n / 2 : n);
  fwrite(text, 1, size, out);
  free(text);
  return s + 1;
}

static char err[200];
static pt_remap *remap;
static unsigned nremap;

static pt_cluster *parse_bytes(const char *bytes, size_t n) {
  static pt_node pool[400000];
  char host[] = "192.0.2.9";
  pt_hostport asked = {host, 6379};
  pt_node *tree = pt_reply_tree((const uint8_t *)bytes, n, pool, sizeof pool / sizeof pool[0]);
  assert_non_null(tree);
  strcpy(err, "none");
  return pt_cluster_parse(tree, &asked, false, remap, nremap, err, sizeof err);
}

static pt_cluster *parse(const char *text) {
  char *bytes;
  size_t n;
  FILE *out = open_memstream(&bytes, &n);
  encode(text, out);
  fclose(out);
  pt_cluster *c = parse_bytes(bytes, n);
  free(bytes);
  return c;
}

/* The snapshot as text: "master 10.0.0.1:7001 slots 5461 replicas 3 4\n...", and what must hold in any snapshot. */
static const char *show(const pt_cluster *c) {
  static char text[1 << 16];
  FILE *out = fmemopen(text, sizeof text, "w");
  unsigned owned[PT_MAX_NODES] = {0}, total = 0;
  for (unsigned s = 0; s < PT_SLOTS; s++)
    if (c->owner[s] != PT_NODE_NONE) {
      assert_in_range(c->owner[s], 0, c->nnodes - 1);
      owned[c->owner[s]]++;
      total++;
    }
  assert_int_equal(total, c->nslots);
  for (unsigned i = 0; i < c->nnodes; i++) {
    const pt_cluster_node *n = &c->nodes[i];
    assert_int_equal(owned[i], n->nslots);
    assert_in_range(n->master, 0, c->nnodes - 1);
    assert_false(c->nodes[n->master].replica);
    assert_true(n->replica || n->master == (int)i);
    if (i && c->nodes[i - 1].replica == n->replica)
      assert_true(strcmp(c->nodes[i - 1].host, n->host) < 0 || c->nodes[i - 1].port < n->port);
    if (i)
      assert_true(c->nodes[i - 1].replica <= n->replica);
    fprintf(out, "%s%s%s %s:%u", i ? "\n" : "", n->healthy ? "" : "sick ", n->replica ? "replica" : "master", n->host, n->port);
    if (n->replica)
      fprintf(out, " of %d", n->master);
    else
      fprintf(out, " slots %u", n->nslots);
    for (unsigned r = 0; r < n->nreplicas; r++) {
      assert_int_equal(c->nodes[n->replicas[r]].master, i);
      fprintf(out, "%s%d", r ? " " : " replicas ", n->replicas[r]);
    }
    if (*n->zone)
      fprintf(out, " zone %s", n->zone);
  }
  fclose(out);
  return text;
}

static void check(const char *text, const char *want) {
  for (resp3 = 0; resp3 < 2; resp3++) {
    pt_cluster *c = parse(text);
    if (!c)
      fail_msg("%s: %s", text, err);
    assert_string_equal(show(c), want);
    pt_cluster_unref(c);
  }
}

static void check_error(const char *text, const char *want) {
  for (resp3 = 0; resp3 < 2; resp3++) {
    assert_null(parse(text));
    assert_string_equal(err, want);
  }
}

/* ---- as servers send it ---- */

static void shards(void **state) {
  (void)state;
  check("[{slots [10923 16383] nodes ["
        "{id c port 7003 ip 10.0.0.3 endpoint 10.0.0.3 hostname '' role master replication-offset 72156 health online}"
        "{id f port 7006 ip 10.0.0.1 endpoint 10.0.0.1 hostname '' role replica replication-offset 72156 health online}]}"
        "{slots [0 5460] nodes ["
        "{id e port 7005 ip 10.0.0.3 endpoint 10.0.0.3 role replica replication-offset 72156 health loading}"
        "{id a port 7001 ip 10.0.0.1 endpoint 10.0.0.1 role master replication-offset 72156 health online availability-zone "
        "eu-1a}]}"
        "{slots [5461 10000 10002 10922] nodes ["
        "{id b port 7002 ip 10.0.0.2 endpoint 10.0.0.2 role master replication-offset 72156 health online}]}]",
        "master 10.0.0.1:7001 slots 5461 replicas 4 zone eu-1a\n"
        "master 10.0.0.2:7002 slots 5461\n"
        "master 10.0.0.3:7003 slots 5461 replicas 3\n"
        "replica 10.0.0.1:7006 of 2\n"
        "sick replica 10.0.0.3:7005 of 0");
}

static void slots(void **state) {
  (void)state;
  check("[[5461 10922 [10.0.0.2 7002 b [hostname host2]]]"
        " [0 100 [10.0.0.1 7001 a []] [10.0.0.2 7005 e []] [10.0.0.3 7006 f []]]"
        " [102 5460 [10.0.0.1 7001 a []] [10.0.0.2 7005 e []] [10.0.0.3 7006 f []]]"
        " [10923 16383 [10.0.0.3 7003]]]",
        "master 10.0.0.1:7001 slots 5460 replicas 3 4\n"
        "master 10.0.0.2:7002 slots 5462\n"
        "master 10.0.0.3:7003 slots 5461\n"
        "replica 10.0.0.2:7005 of 0\n"
        "replica 10.0.0.3:7006 of 0");
}

static void order_does_not_matter(void **state) {
  (void)state;
  pt_cluster *a = parse("[[0 1 [b 1]] [2 2 [a 2] [c 1]] [3 3 [a 1]]]"), *b = parse("[[3 3 [a 1]] [2 2 [a 2] [c 1]] [0 1 [b 1]]]");
  assert_int_equal(pt_cluster_same(a, b), 1);
  b->generation++;
  assert_int_equal(pt_cluster_same(a, b), 1);
  pt_cluster_unref(a);
  pt_cluster_unref(b);
}

static void same_sees_every_difference(void **state) {
  (void)state;
  static const char base[] =
      "[{slots [0 9] nodes [{ip h port 1 role master health online availability-zone z} {ip h port 2 role replica}]}"
      " {nodes [{ip h port 3 role master}]}]";
  static const struct {
    const char *from, *to;
  } edits[] = {{"0 9", "0 8"},       {"0 9", "1 9"},       {"ip h", "ip g"},
               {"port 1", "port 4"}, {"online", "fail"},   {"role replica", "role master"},
               {"zone z", "zone y"}, {"port 3", "port 5"}, {"0 9", "0 9 12 12"}};
  pt_cluster *a = parse(base);
  for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
    char text[400];
    const char *at = strstr(base, edits[i].from);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - base), base, edits[i].to, at + strlen(edits[i].from));
    pt_cluster *b = parse(text);
    if (pt_cluster_same(a, b) || pt_cluster_same(b, a))
      fail_msg("%s is not seen", edits[i].to);
    pt_cluster_unref(b);
  }
  pt_cluster_unref(a);
}

/* ---- addresses ---- */

static void hosts_that_are_not_told(void **state) {
  (void)state;
  check("[{slots [0 0] nodes [{port 1 ip '' endpoint '' role master}]} {slots [1 1] nodes [{port 2 ip 10.0.0.2 endpoint ~ role "
        "master}]}"
        " {slots [2 2] nodes [{port 3 endpoint ? role master}]} {slots [3 3] nodes [{port 4 ip 10.0.0.4 endpoint ? role master}]}"
        " {slots [4 4] nodes [{port 5 role master}]} {slots [5 5] nodes [{port 6 ip 10.0.0.6 endpoint host6 role master}]}]",
        "master 10.0.0.4:4 slots 1\nmaster 192.0.2.9:1 slots 1\nmaster 192.0.2.9:2 slots 1\nmaster 192.0.2.9:3 slots 1\n"
        "master 192.0.2.9:5 slots 1\nmaster host6:6 slots 1");
  check("[[0 0 ['' 1 a]] [1 1 [~ 2 b [ip 10.0.0.2]]] [2 2 [? 3 c []]] [3 3 [? 4 d [ip 10.0.0.4]]] [4 4 [::1 5 e {hostname x}]]]",
        "master 10.0.0.4:4 slots 1\nmaster 192.0.2.9:1 slots 1\nmaster 192.0.2.9:2 slots 1\nmaster 192.0.2.9:3 slots 1\n"
        "master ::1:5 slots 1");
}

static void ports(void **state) {
  (void)state;
  check("[{slots [0 0] nodes [{tls-port 7 ip h role master} {port 8 tls-port 9 ip h role replica} {port 0 ip h role replica}"
        " {port 65536 ip h role replica} {port -1 ip h role replica} {port x ip h role replica} {ip h role replica}]}]",
        "master h:7 slots 1 replicas 1\nreplica h:8 of 0");
}

static void remapped(void **state) {
  (void)state;
  char one[] = "10.0.0.1", out[] = "proxy.example", asked[] = "192.0.2.9";
  pt_remap map[] = {{{one, 7001}, {out, 17001}}, {{one, 7002}, {out, 17002}}, {{asked, 1}, {one, 7001}}};
  remap = map;
  nremap = 3;
  check("[[0 0 [10.0.0.1 7001] [10.0.0.1 7002]] [1 1 [10.0.0.1 7003]] [2 2 ['' 1]]]",
        "master 10.0.0.1:7001 slots 1\nmaster 10.0.0.1:7003 slots 1\nmaster proxy.example:17001 slots 1 replicas 3\n"
        "replica proxy.example:17002 of 2");
  nremap = 0;
}

static void hosts_nobody_should_dial(void **state) {
  (void)state;
  char text[1000], longest[257];
  check("[[0 0 [h 1] [a/b 2] [a|b 3] [a,b 4] [5 5] [a\x7f 6] [a\xc3\xa9 7] [ok_-.%1 8]]]",
        "master h:1 slots 1 replicas 1\nreplica ok_-.%1:8 of 0");
  memset(longest, 'h', 256);
  longest[256] = 0;
  snprintf(text, sizeof text, "[[0 0 [h 1] [%s 2] [%s 3]]]", longest, longest + 1);
  pt_cluster *c = parse(text);
  assert_int_equal(c->nnodes, 2);
  assert_int_equal(pt_cluster_find(c, longest + 1, 3), 1);
  pt_cluster_unref(c);
  static const char nul[] = "*1\r\n*3\r\n:0\r\n:0\r\n*2\r\n$3\r\na\0b\r\n:1\r\n";
  assert_null(parse_bytes(nul, sizeof nul - 1));
  assert_string_equal(err, "it shows no nodes");
}

static void find(void **state) {
  (void)state;
  pt_cluster *c = parse("[[0 0 [a 1] [b 1]] [1 1 [a 2]]]");
  assert_int_equal(pt_cluster_find(c, "a", 1), 0);
  assert_int_equal(pt_cluster_find(c, "a", 2), 1);
  assert_int_equal(pt_cluster_find(c, "b", 1), 2);
  assert_int_equal(pt_cluster_find(c, "b", 2), PT_NODE_NONE);
  assert_int_equal(pt_cluster_find(c, "", 1), PT_NODE_NONE);
  strcpy(c->nodes[0].host, "10.0.0.9"); /* as when its name was resolved */
  c = pt_cluster_arrange(c);
  assert_string_equal(show(c), "master 10.0.0.9:1 slots 1 replicas 2\nmaster a:2 slots 1\nreplica b:1 of 0");
  assert_int_equal(pt_cluster_find(c, "a", 1), 0);
  assert_int_equal(pt_cluster_find(c, "10.0.0.9", 1), 0);
  strcpy(c->nodes[0].host, "z");
  c = pt_cluster_arrange(c);
  assert_string_equal(show(c), "master a:2 slots 1\nmaster z:1 slots 1 replicas 2\nreplica b:1 of 1");
  assert_int_equal(c->owner[0], 1);
  assert_int_equal(c->owner[1], 0);
  pt_cluster_unref(c);
}

/* ---- who is whose master ---- */

static void failed_nodes_are_kept(void **state) {
  (void)state;
  check("[{slots [0 9] nodes [{ip a port 1 role master health fail} {ip a port 2 role replica health failed}]}"
        " {slots [] nodes [{ip b port 1 role master health online}]}]",
        "sick master a:1 slots 10 replicas 2\nmaster b:1 slots 0\nsick replica a:2 of 0");
}

static void of_two_masters_the_healthy_one_counts(void **state) {
  (void)state;
  check("[{slots [0 9] nodes [{ip a port 1 role master health fail} {ip a port 3 role replica health online}"
        " {ip a port 2 role master health online}]}]",
        "sick master a:1 slots 0\nmaster a:2 slots 10 replicas 2\nreplica a:3 of 1");
  check("[{slots [0 9] nodes [{ip a port 1 role master health fail}]} {slots [5 12] nodes [{ip b port 1 role master health "
        "online}]}]",
        "sick master a:1 slots 5\nmaster b:1 slots 8");
  check("[{slots [5 12] nodes [{ip b port 1 role master health online}]} {slots [0 9] nodes [{ip a port 1 role master health "
        "fail}]}]",
        "sick master a:1 slots 5\nmaster b:1 slots 8");
  check("[{slots [5 12] nodes [{ip b port 1 role master}]} {slots [0 9] nodes [{ip a port 1 role master}]}]",
        "master a:1 slots 5\nmaster b:1 slots 8");
}

static void a_shard_without_a_master(void **state) {
  (void)state;
  check("[{slots [0 9] nodes [{ip a port 1 role replica}]} {slots [10 19] nodes [{ip b port 1 role master}]}]",
        "master b:1 slots 10");
  check_error("[{slots [0 9] nodes [{ip a port 1 role replica}]}]", "it shows no nodes");
}

static void a_node_named_twice(void **state) {
  (void)state;
  check("[[0 0 [a 1] [b 1] [b 1]] [1 1 [b 1] [a 1]]]", "master a:1 slots 1\nmaster b:1 slots 1");
  check("[[0 0 [a 1] [c 1]] [1 1 [b 1] [c 1]]]", "master a:1 slots 1 replicas 2\nmaster b:1 slots 1\nreplica c:1 of 0");
  check("[[0 0 [a 1] [b 1]] [1 1 [b 1] [c 1]] [2 2 [c 1] [a 1]]]", "master a:1 slots 1\nmaster b:1 slots 1\nmaster c:1 slots 1");
}

static void more_replicas_than_listed(void **state) {
  (void)state;
  char text[2000] = "[[0 0";
  for (int i = 1; i <= 21; i++)
    sprintf(text + strlen(text), " [h %d]", i);
  strcat(text, "]]");
  pt_cluster *c = parse(text);
  show(c);
  assert_int_equal(c->nnodes, 21);
  assert_int_equal(c->nodes[0].nreplicas, PT_MAX_REPLICAS);
  for (int i = 1; i < 21; i++)
    assert_int_equal(c->nodes[i].master, 0);
  pt_cluster_unref(c);
}

/* ---- as nobody should send it ---- */

static void nonsense(void **state) {
  (void)state;
  check_error("[]", "it shows no nodes");
  check_error("OK", "not an answer to CLUSTER SHARDS or CLUSTER SLOTS");
  check_error("~", "not an answer to CLUSTER SHARDS or CLUSTER SLOTS");
  check_error("5", "not an answer to CLUSTER SHARDS or CLUSTER SLOTS");
  check_error("[5]", "a shard without nodes");
  check_error("[x y]", "a shard without nodes");
  check_error("[[]]", "a shard without nodes");
  check_error("[[x]]", "a shard without nodes");
  check_error("[{slots [0 1]}]", "a shard without nodes");
  check_error("[{slots [0 1] nodes 5}]", "a shard without nodes");
  check_error("[{slots [0 1] nodes []}]", "it shows no nodes");
  check_error("[{slots [0 1] nodes [5 x [] {} [ip]]}]", "it shows no nodes");
  check_error("[[0]]", "a slot range without a node");
  check_error("[[0 1]]", "a slot range without a node");
  check_error("[[0 1 5]]", "it shows no nodes");
  check_error("[[0 1 []]]", "it shows no nodes");
  check_error("[[0 1 [h]]]", "it shows no nodes");
  check_error("[[0 1 [h x]]]", "it shows no nodes");
  check("[{unknown [1 2 [3]] slots [7] nodes [{x {y z} port 1 ip h role master health [] zone} ]}]", "sick master h:1 slots 0");
  check("[{slots x nodes [{port 1 ip h role master}]}]", "master h:1 slots 0");
}

static void slots_out_of_range(void **state) {
  (void)state;
  static const char *const bad[] = {"0 16384", "-1 5", "5 4", "0 9223372036854775807", "-9223372036854775808 0",
                                    "x 5",     "5 x",  "5 ~"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    char text[200];
    snprintf(text, sizeof text, "[{slots [%s] nodes [{port 1 ip h role master}]}]", bad[i]);
    check_error(text, "a slot range makes no sense");
  }
  check_error("[[0 16384 [h 1]]]", "a slot range makes no sense");
  check_error("[[0 x [h 1]]]", "a slot range makes no sense");
  check_error("[{slots [0 16383 0 16383 0 16383 0 16383 0 0] nodes [{port 1 ip h role master}]}]",
              "its slot ranges overlap too much");
  check("[{slots [0 0 16383 16383] nodes [{port 1 ip h role master}]}]", "master h:1 slots 2");
}

static void too_many_nodes(void **state) {
  (void)state;
  for (unsigned more = 0; more < 2; more++) {
    char *text;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    fputc('[', out);
    for (unsigned i = 0; i < PT_MAX_NODES + more; i++)
      fprintf(out, "[%u %u [h %u]]", i, i, 60000 - i);
    fputc(']', out);
    fclose(out);
    pt_cluster *c = parse(text);
    free(text);
    if (more) {
      assert_null(c);
      assert_string_equal(err, "it shows too many nodes");
      continue;
    }
    assert_int_equal(c->nnodes, PT_MAX_NODES);
    assert_int_equal(c->nodes[0].port, 60000 - PT_MAX_NODES + 1);
    assert_int_equal(c->owner[0], PT_MAX_NODES - 1);
    pt_cluster_unref(c);
  }
}

/* Any reply that frames well gives a sound snapshot or a reason: good ones, with values exchanged at random. */
static void random_replies(void **state) {
  (void)state;
  static const char *const words[] = {
      "[", "]",  "{", "}", "slots", "nodes", "ip",     "port",   "role", "master", "replica", "0",     "16383", "7",
      "~", "''", "h", "g", "?",     "-1",    "health", "online", "fail", "[0 9]",  "[h 7 x]", "[g 7]", "[]",    "endpoint"};
  unsigned seed = 5, sound = 0;
  for (int round = 0; round < 5000; round++) {
    char text[2000] = "[[slots [0 9] nodes [[ip h port 7 role master][ip g port 7 role replica]]][9 12 [g 7][h 8]]]";
    for (int edits = rand_r(&seed) % 6; edits > 0; edits--) {
      char *from = text + (size_t)rand_r(&seed) % strlen(text), rest[2000];
      size_t skip = strcspn(from, " []");
      strcpy(rest, from + skip);
      sprintf(from, " %s %.1500s", words[(size_t)rand_r(&seed) % (sizeof words / sizeof words[0])], rest);
    }
    int depth = 0, lowest = 1; /* brackets that match, else it cannot be encoded */
    char open[2000];
    for (char *p = text; *p && lowest; p++) {
      if (*p == '[' || *p == '{')
        open[depth++] = *p == '[' ? ']' : '}';
      else if (*p == ']' || *p == '}')
        lowest = depth && open[--depth] == *p && (depth || !p[1]);
      else
        lowest = depth || isspace(*p);
    }
    if (!lowest || depth)
      continue;
    resp3 = 0;
    pt_cluster *c = parse(text);
    if (c)
      show(c), sound++;
    else
      assert_string_not_equal(err, "none");
    pt_cluster_unref(c);
  }
  assert_in_range(sound, 250, 5000);
}

static void references(void **state) {
  (void)state;
  pt_cluster *c = parse("[[0 0 [a 1]]]");
  assert_ptr_equal(pt_cluster_ref(c), c);
  pt_cluster_unref(c);
  assert_int_equal(c->nnodes, 1);
  pt_cluster_unref(c);
  pt_cluster_unref(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(shards),
      cmocka_unit_test(slots),
      cmocka_unit_test(order_does_not_matter),
      cmocka_unit_test(same_sees_every_difference),
      cmocka_unit_test(hosts_that_are_not_told),
      cmocka_unit_test(ports),
      cmocka_unit_test(remapped),
      cmocka_unit_test(hosts_nobody_should_dial),
      cmocka_unit_test(find),
      cmocka_unit_test(failed_nodes_are_kept),
      cmocka_unit_test(of_two_masters_the_healthy_one_counts),
      cmocka_unit_test(a_shard_without_a_master),
      cmocka_unit_test(a_node_named_twice),
      cmocka_unit_test(more_replicas_than_listed),
      cmocka_unit_test(nonsense),
      cmocka_unit_test(slots_out_of_range),
      cmocka_unit_test(too_many_nodes),
      cmocka_unit_test(random_replies),
      cmocka_unit_test(references),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
