/* A configuration file through the modules embedded in the binary into the core's tree, and what a reload may change. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <lauxlib.h>
#include <lua.h>

#include "core/config.h"
#include "script/config_lua.h"
#include "script/state.h"
#include "tls_pem.h"
#include "wire/mongo_compress.h"

static char dir[] = "/tmp/puerta-config-XXXXXX";
static char path[64];

static char pem_path[64];

static int set_up(void **state) {
  (void)state;
  if (!mkdtemp(dir))
    return -1;
  snprintf(path, sizeof path, "%s/c.lua", dir);
  snprintf(pem_path, sizeof pem_path, "%s/t.pem", dir);
  FILE *f = fopen(pem_path, "w");
  if (!f || fputs(pem, f) < 0 || fclose(f))
    return -1;
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  unlink(path);
  unlink(pem_path);
  return rmdir(dir);
}

static void write_file(const char *text) {
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  assert_true(fputs(text, f) >= 0);
  assert_int_equal(fclose(f), 0);
}

static pt_config *load(const char *text) {
  pt_config *c = NULL;
  char *errors = NULL;
  write_file(text);
  if (pt_config_load(path, NULL, &c, &errors))
    fail_msg("%s", errors);
  assert_non_null(c);
  assert_null(errors);
  return c;
}

static void assert_hostport(const pt_hostport *a, const char *host, unsigned port) {
  assert_string_equal(a->host, host);
  assert_int_equal(a->port, port);
}

static void defaults(void **state) {
  (void)state;
  pt_config *c = load("local p = require 'puerta'\n"
                      "return p.config { listeners = {\n"
                      "  p.redis { bind = '*:6379', nodes = { 'redis1:6379' } } } }\n");
  assert_string_equal(c->file, path);
  assert_null(c->lua_path);
  assert_int_equal(c->workers, 0);
  assert_false(c->admin.on);
  assert_false(c->daemon);
  assert_null(c->pid_file);
  assert_null(c->user);
  assert_null(c->group);
  assert_string_equal(c->log_level, "info");
  assert_int_equal(c->log_format, PT_LOG_TEXT);
  assert_string_equal(c->log_to, "stderr");
  assert_false(c->access_connections);
  assert_int_equal(c->access_every, 0);
  assert_null(c->access_to);
  assert_int_equal(c->drain_timeout, 30000);
  assert_int_equal(c->watchdog_warn, 100);
  assert_int_equal(c->watchdog_abort, 2000);
  assert_int_equal(c->max_connections + c->accept_rate + c->memory_max, 0);
  assert_int_equal(c->nlisteners, 1);
  const pt_listener_config *l = c->listeners;
  char where[80];
  snprintf(where, sizeof where, "%s:3", path);
  assert_int_equal(l->kind, PT_LISTENER_REDIS);
  assert_int_equal(l->nallow + l->ndeny + l->max_connections + l->max_per_source + l->accept_rate, 0);
  assert_int_equal(l->source_v4, 32);
  assert_int_equal(l->source_v6, 64);
  assert_string_equal(l->name, "redis-6379");
  assert_string_equal(l->where, where);
  assert_hostport(&l->bind, "0.0.0.0", 6379);
  assert_int_equal(l->nnodes, 1);
  assert_hostport(l->nodes, "redis1", 6379);
  assert_int_equal(l->nusers + l->nremap, 0);
  assert_null(l->backend_user);
  assert_null(l->backend_password);
  assert_string_equal(l->policy.name, "slot_owner");
  assert_string_equal(l->policy.opts, "{}");
  assert_string_equal(l->policy.where, where);
  assert_int_equal(l->backlog, 1024);
  assert_int_equal(l->slot_refresh, 60000);
  assert_int_equal(l->max_redirects, 5);
  assert_int_equal(l->connections, 1);
  assert_int_equal(l->connect_timeout, 1000);
  assert_int_equal(l->request_timeout, 5000);
  assert_int_equal(l->idle_timeout, 0);
  assert_int_equal(l->handshake_timeout, 10000);
  assert_int_equal(l->stall_timeout, 60000);
  assert_int_equal(l->retry_interval, 1000);
  assert_int_equal(l->max_bulk, 512 << 20);
  assert_int_equal(l->stream_above, 1 << 20);
  assert_int_equal(l->max_pipeline, 1024);
  assert_int_equal(l->client_buffer, 256 << 20);
  assert_int_equal(l->max_request, 512 << 20);
  assert_int_equal(l->node_backlog, 64 << 20);
  pt_config_unref(c);
}

#define VERIFIER                                                                                                                 \
  "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"                                    \
  "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static const char everything[] =
    "local p = require 'puerta'\n"
    "return p.config {\n"
    "  daemon = true, pid_file = '/run/x.pid', upgrade = { socket = '/run/x.sock' }, user = 'u', group = 'g',\n"
    "  workers = 3, log = { level = 'debug', format = 'json', to = 'logs/p.log',\n"
    "    access = { connections = false, sample = 0.003, to = 'journald' } }, drain_timeout = '1m', coalesce = '50us',\n"
    "  watchdog = { warn = '1s', abort = '0s' }, max_connections = 31, accept_rate = 32, memory = { max = '3GiB' },\n"
    "  admin = { bind = '10.0.0.1:9901', token = 't', slow = '5ms' },\n"
    "  listeners = {\n"
    "    p.redis { max_connections = 33, max_per_source = 34, source_prefix = { v4 = 24, v6 = 48 }, accept_rate = 35,"
    "      idle_timeout = '36s', handshake_timeout = '37s', stall_timeout = '38s',"
    "      allow = { '10.0.0.0/8', 'fd00::/8' }, deny = { '10.9.0.0/16' },"
    "      name = 'cache', bind = '[::1]:1', backlog = 2, nodes = { 'a:3', '[::2]:4' },\n"
    "      auth = { { password = 'one' }, { user = 'u', password = 'two' } }, backend_auth = { user = 'b', password = 'three' "
    "},\n"
    "      policy =\n"
    "        p.policy('read_near', { zone = 'a' }),\n"
    "      remap = { ['c:5'] = 'd:6', ['a:7'] = 'b:8' }, slot_refresh = '9s', max_redirects = 10, connections = 11,\n"
    "      connect_timeout = '12ms', request_timeout = '13ms', retry_interval = '14ms', max_bulk = '15MiB', stream_above = "
    "'1MB',\n"
    "      max_pipeline = 17, client_buffer = '5GiB', max_request = '19MiB', node_backlog = '20MiB' },\n"
    "    p.mongodb { bind = '127.0.0.1:21', backends = { p.backend { 'm:22' }, p.backend { 'n:23', weight = 2, drain = true } "
    "},\n"
    "      forward = 'request', session_timeout = '1s', max_sessions = 2, prefix = { v4 = 3, v6 = 4 }, fingerprint_ip = false,\n"
    "      affinity = p.policy('hybrid', { pick = 'round_robin' }),\n"
    "      pool = { min = 5, max = 6, idle = '7s', wait = '80ms', queue = 9 }, buffer = '1MiB',\n"
    "      timeouts = { connect = '11ms', handshake = '12ms', idle = '31m', request = '13ms', stall = '12s' },\n"
    "      health = { interval = '14ms', timeout = '15ms', jitter = 16, rise = 17, fall = 18, retries = 9, slow_start = '0s',\n"
    "        require_mongos = true, resolve = '19s' },\n"
    "      proxy_protocol = { from = { '10.1.2.3/9', '::1', 'fd00::ff/120' } },\n"
    "      auth = { user = 'app', verifier = '" VERIFIER "' },\n"
    "      backend_auth = { user = 'b', password = 'four', source = 'db', mechanism = 'SCRAM-SHA-256' },\n"
    "      compression = { 'snappy', 'zstd' } },\n"
    "  },\n"
    "}\n";

static void tls(void **state) {
  (void)state;
  pt_config *c = load("local p = require 'puerta'\n"
                      "local pair = { cert = 't.pem', key = 't.pem' }\n"
                      "return p.config { listeners = {\n"
                      "  p.redis { bind = '*:6379', nodes = { 'redis1:6379' },\n"
                      "    tls = { cert = 't.pem', key = 't.pem', ca = 't.pem', client_auth = 'optional', min_version = '1.3',\n"
                      "      ciphers = 'HIGH', ciphersuites = 'TLS_AES_128_GCM_SHA256', session_tickets = false,\n"
                      "      handshake_timeout = '7s', sni = { ['b.test'] = pair, ['*.a.test'] = pair } },\n"
                      "    backend_tls = { server_name = 'n.test', verify = false } } } }\n");
  const pt_listener_config *l = c->listeners;
  const pt_tls_options *o = l->tls_options, *b = l->backend_tls_options;
  char where[80];
  snprintf(where, sizeof where, "%s:5", path);
  assert_non_null(l->tls);
  assert_non_null(l->backend_tls);
  assert_true(o->server && !b->server);
  assert_string_equal(o->where, where);
  assert_string_equal(o->cert, pem_path);
  assert_string_equal(o->key, pem_path);
  assert_string_equal(o->ca, pem_path);
  assert_int_equal(o->verify, PT_TLS_VERIFY_OPTIONAL);
  assert_true(o->tls13 && !b->tls13);
  assert_string_equal(o->ciphers, "HIGH");
  assert_string_equal(o->ciphersuites, "TLS_AES_128_GCM_SHA256");
  assert_false(o->tickets);
  assert_int_equal(pt_tls_context_patience(l->tls), 7000);
  assert_int_equal(o->nnames, 2);
  assert_string_equal(o->names[0].name, "*.a.test");
  assert_string_equal(o->names[1].cert, pem_path);
  assert_string_equal(b->server_name, "n.test");
  assert_null(b->ca);
  assert_int_equal(b->verify, PT_TLS_VERIFY_NONE);
  pt_config_unref(c);
}

static void mongodb_defaults(void **state) {
  (void)state;
  pt_config *c = load("local p = require 'puerta'\n"
                      "return p.config { listeners = {\n"
                      "  p.mongodb { bind = '*:27017', backends = { p.backend { 'mongos:27018' } } } } }\n");
  const pt_listener_config *l = c->listeners;
  char where[80];
  snprintf(where, sizeof where, "%s:3", path);
  assert_int_equal(l->kind, PT_LISTENER_MONGODB);
  assert_string_equal(l->name, "mongodb-27017");
  assert_string_equal(l->policy.name, "hybrid");
  assert_string_equal(l->policy.opts, "{}");
  assert_string_equal(l->policy.where, where);
  assert_int_equal(l->backlog, 1024);
  const pt_mongo_config *m = l->mongo;
  assert_non_null(m);
  assert_int_equal(m->nbackends, 1);
  assert_hostport(&m->backends->at, "mongos", 27018);
  assert_int_equal(m->backends->weight, 1);
  assert_false(m->backends->drain);
  assert_false(m->per_request);
  assert_int_equal(m->session_timeout, 30 * 60 * 1000);
  assert_int_equal(m->max_sessions, 100000);
  assert_int_equal(m->prefix_v4, 32);
  assert_int_equal(m->prefix_v6, 64);
  assert_true(m->fingerprint_ip);
  assert_int_equal(m->connect_timeout, 1000);
  assert_int_equal(m->handshake_timeout, 10000);
  assert_int_equal(m->idle_timeout, 3600000);
  assert_int_equal(m->request_timeout, 0);
  assert_int_equal(m->stall_timeout, 60000);
  assert_int_equal(m->buffer, 256 << 10);
  assert_int_equal(m->health_interval, 2000);
  assert_int_equal(m->health_timeout, 1000);
  assert_int_equal(m->health_jitter, 10);
  assert_int_equal(m->health_rise, 2);
  assert_int_equal(m->health_fall, 2);
  assert_int_equal(m->health_retries, 0);
  assert_int_equal(m->slow_start, 30000);
  assert_false(m->require_mongos);
  assert_int_equal(m->resolve, 30000);
  assert_int_equal(m->ntrusted + m->nusers + m->compressors + m->backend_mechanism, 0);
  assert_int_equal(m->proxy_send, PT_PROXY_OFF);
  assert_null(m->backend_user);
  assert_null(m->backend_password);
  pt_config_unref(c);
  c = load("local p = require 'puerta'\n"
           "return p.config { listeners = { p.mongodb { bind = '*:1', backends = { p.backend { 'a:1' } }, forward = 'request',\n"
           "  backend_auth = { user = 'u', password = 'p', mechanism = 'SCRAM-SHA-1' } },\n"
           "  p.mongodb { bind = '*:2', backends = { p.backend { 'a:1' } }, proxy_protocol = { send = 'v2' },\n"
           "    backend_auth = { user = 'u', password = 'p' } } } }\n");
  m = c->listeners[0].mongo;
  assert_true(m->per_request);
  assert_int_equal(m->pool_min, 0);
  assert_int_equal(m->pool_max, 16);
  assert_int_equal(m->pool_idle, 600000);
  assert_int_equal(m->pool_wait, 5000);
  assert_int_equal(m->pool_queue, 10000);
  assert_string_equal(m->backend_source, "admin");
  assert_int_equal(m->backend_mechanism, 1);
  m = c->listeners[1].mongo;
  assert_int_equal(m->proxy_send, PT_PROXY_V2);
  assert_int_equal(m->backend_mechanism, 0);
  pt_config_unref(c);
}

static void assert_range(const pt_cidr *range, const char *ip, unsigned bits) {
  uint8_t expected[16];
  assert_int_equal(inet_pton(AF_INET6, ip, expected), 1);
  assert_memory_equal(range->ip, expected, 16);
  assert_int_equal(range->bits, bits);
}

static void assert_mongo(const pt_mongo_config *m) {
  assert_int_equal(m->nbackends, 2);
  assert_hostport(&m->backends[1].at, "n", 23);
  assert_int_equal(m->backends[1].weight, 2);
  assert_true(m->backends[1].drain);
  assert_true(m->per_request);
  assert_int_equal(m->session_timeout, 1000);
  assert_int_equal(m->max_sessions, 2);
  assert_int_equal(m->prefix_v4, 3);
  assert_int_equal(m->prefix_v6, 4);
  assert_false(m->fingerprint_ip);
  assert_int_equal(m->pool_min, 5);
  assert_int_equal(m->pool_max, 6);
  assert_int_equal(m->pool_idle, 7000);
  assert_int_equal(m->pool_wait, 80);
  assert_int_equal(m->pool_queue, 9);
  assert_int_equal(m->buffer, 1 << 20);
  assert_int_equal(m->connect_timeout, 11);
  assert_int_equal(m->handshake_timeout, 12);
  assert_int_equal(m->idle_timeout, 31 * 60000);
  assert_int_equal(m->request_timeout, 13);
  assert_int_equal(m->stall_timeout, 12000);
  assert_int_equal(m->health_interval, 14);
  assert_int_equal(m->health_timeout, 15);
  assert_int_equal(m->health_jitter, 16);
  assert_int_equal(m->health_rise, 17);
  assert_int_equal(m->health_fall, 18);
  assert_int_equal(m->health_retries, 9);
  assert_int_equal(m->slow_start, 0);
  assert_true(m->require_mongos);
  assert_int_equal(m->resolve, 19000);
  assert_int_equal(m->ntrusted, 3);
  assert_range(&m->trusted[0], "::ffff:10.0.0.0", 96 + 9);
  assert_range(&m->trusted[1], "::1", 128);
  assert_range(&m->trusted[2], "fd00::", 120);
  assert_int_equal(m->proxy_send, PT_PROXY_OFF);
  assert_int_equal(m->nusers, 1);
  assert_string_equal(m->users->name, "app");
  assert_string_equal(m->users->verifier, VERIFIER);
  assert_string_equal(m->backend_user, "b");
  assert_string_equal(m->backend_password, "four");
  assert_string_equal(m->backend_source, "db");
  assert_int_equal(m->backend_mechanism, 256);
  assert_int_equal(m->compressors, 1 << PT_COMPRESS_SNAPPY | 1 << PT_COMPRESS_ZSTD);
}

static void every_option(void **state) {
  (void)state;
  pt_config *c = load(everything);
  assert_int_equal(c->workers, 3);
  assert_true(c->daemon);
  assert_string_equal(c->pid_file, "/run/x.pid");
  assert_string_equal(c->upgrade_socket, "/run/x.sock");
  assert_string_equal(c->user, "u");
  assert_string_equal(c->group, "g");
  assert_true(c->admin.on);
  assert_string_equal(c->admin.bind.host, "10.0.0.1");
  assert_int_equal(c->admin.bind.port, 9901);
  assert_null(c->admin.path);
  assert_string_equal(c->admin.token, "t");
  assert_int_equal(c->admin.slow, 5000);
  assert_non_null(strstr(c->admin.where, ":7"));
  assert_string_equal(c->log_level, "debug");
  char log_to[96];
  snprintf(log_to, sizeof log_to, "%s/logs/p.log", dir);
  assert_string_equal(c->log_to, log_to);
  assert_false(c->access_connections);
  assert_int_equal(c->access_every, 333);
  assert_string_equal(c->access_to, "journald");
  assert_int_equal(c->log_format, PT_LOG_JSON);
  assert_int_equal(c->drain_timeout, 60000);
  assert_int_equal(c->coalesce, 50);
  assert_int_equal(c->watchdog_warn, 1000);
  assert_int_equal(c->watchdog_abort, 0);
  assert_int_equal(c->max_connections, 31);
  assert_int_equal(c->accept_rate, 32);
  assert_true(c->memory_max == 3ull << 30);
  assert_int_equal(c->nlisteners, 2);
  const pt_listener_config *l = c->listeners;
  assert_string_equal(l->name, "cache");
  assert_int_equal(l->max_connections, 33);
  assert_int_equal(l->max_per_source, 34);
  assert_int_equal(l->source_v4, 24);
  assert_int_equal(l->source_v6, 48);
  assert_int_equal(l->accept_rate, 35);
  assert_int_equal(l->nallow, 2);
  assert_range(&l->allow[0], "::ffff:10.0.0.0", 96 + 8);
  assert_range(&l->allow[1], "fd00::", 8);
  assert_int_equal(l->ndeny, 1);
  assert_range(&l->deny[0], "::ffff:10.9.0.0", 96 + 16);
  assert_hostport(&l->bind, "::1", 1);
  assert_int_equal(l->backlog, 2);
  assert_int_equal(l->nnodes, 2);
  assert_hostport(&l->nodes[0], "a", 3);
  assert_hostport(&l->nodes[1], "::2", 4);
  assert_int_equal(l->nusers, 2);
  assert_string_equal(l->users[0].name, "default");
  assert_string_equal(l->users[0].password, "one");
  assert_string_equal(l->users[1].name, "u");
  assert_string_equal(l->users[1].password, "two");
  assert_string_equal(l->backend_user, "b");
  assert_string_equal(l->backend_password, "three");
  assert_string_equal(l->policy.name, "read_near");
  assert_string_equal(l->policy.opts, "{[\"zone\"]=\"a\"}");
  assert_non_null(strstr(l->policy.where, "/c.lua:12"));
  assert_int_equal(l->nremap, 2);
  assert_hostport(&l->remap[0].from, "a", 7);
  assert_hostport(&l->remap[0].to, "b", 8);
  assert_hostport(&l->remap[1].from, "c", 5);
  assert_hostport(&l->remap[1].to, "d", 6);
  assert_int_equal(l->slot_refresh, 9000);
  assert_int_equal(l->max_redirects, 10);
  assert_int_equal(l->connections, 11);
  assert_int_equal(l->connect_timeout, 12);
  assert_int_equal(l->request_timeout, 13);
  assert_int_equal(l->idle_timeout, 36000);
  assert_int_equal(l->handshake_timeout, 37000);
  assert_int_equal(l->stall_timeout, 38000);
  assert_int_equal(l->retry_interval, 14);
  assert_int_equal(l->max_bulk, 15 << 20);
  assert_int_equal(l->stream_above, 1000000);
  assert_int_equal(l->max_pipeline, 17);
  assert_true(l->client_buffer == 5ull << 30);
  assert_int_equal(l->max_request, 19 << 20);
  assert_int_equal(l->node_backlog, 20 << 20);
  l++;
  assert_int_equal(l->kind, PT_LISTENER_MONGODB);
  assert_string_equal(l->name, "mongodb-21");
  assert_string_equal(l->policy.name, "hybrid");
  assert_string_equal(l->policy.opts, "{[\"pick\"]=\"round_robin\"}");
  assert_non_null(strstr(l->policy.where, "/c.lua:18"));
  assert_null(l->backend_user);
  assert_null(c->listeners->mongo);
  assert_mongo(l->mongo);
  pt_config *other = pt_config_ref(c);
  pt_config_unref(c);
  assert_string_equal(other->listeners->users[0].password, "one");
  pt_config_unref(other);
  pt_config_unref(NULL);
}

static void errors_in_full(void **state) {
  (void)state;
  pt_config *c = (pt_config *)1;
  char *errors = NULL, *text = NULL, expected[512];
  write_file("local p = require 'puerta'\nreturn p.config { workers = 'x',\n  listeners = { p.redis { bind = '*:1',\n    noeds = "
             "1 } } }\n");
  snprintf(expected, sizeof expected,
           "%s:2: workers: expected integer 0..256, got \"x\"\n"
           "%s:3: listener \"redis-1\": missing option \"nodes\"\n"
           "%s:4: listener \"redis-1\": unknown option \"noeds\" (did you mean \"nodes\"?)\n"
           "3 errors; configuration not applied",
           path, path, path);
  assert_int_equal(pt_config_load(path, NULL, &c, &errors), -1);
  assert_string_equal(errors, expected);
  assert_null(c);
  free(errors);
  assert_int_equal(pt_config_dump(path, NULL, &text, &errors), -1);
  assert_string_equal(errors, expected);
  assert_null(text);
  free(errors);
  assert_int_equal(pt_config_load("/nowhere/c.lua", NULL, &c, &errors), -1);
  assert_string_equal(errors, "/nowhere/c.lua: No such file or directory\n1 error; configuration not applied");
  free(errors);
}

static void a_broken_lua_path(void **state) {
  (void)state;
  pt_config *c;
  char *errors;
  write_file("return 1");
  assert_int_equal(pt_config_load(path, "/nowhere", &c, &errors), -1);
  assert_non_null(strstr(errors, "puerta.config"));
  free(errors);
}

static void a_lua_path_is_kept(void **state) {
  (void)state;
  pt_config *c;
  char *errors;
  write_file(everything);
  assert_int_equal(pt_config_load(path, "lua", &c, &errors), 0);
  assert_string_equal(c->lua_path, "lua");
  pt_config_unref(c);
}

static void the_dump_is_a_configuration(void **state) {
  (void)state;
  char *first, *second, *errors;
  write_file(everything);
  assert_int_equal(pt_config_dump(path, NULL, &first, &errors), 0);
  assert_null(strstr(first, "three"));
  assert_null(strstr(first, "four"));
  assert_null(strstr(first, VERIFIER));
  assert_non_null(strstr(first, "***"));
  write_file(first);
  if (pt_config_dump(path, NULL, &second, &errors))
    fail_msg("%s", errors);
  assert_string_equal(first, second);
  free(first);
  free(second);
}

static void a_policy_beside_the_file(void **state) {
  (void)state;
  char *text, *errors, own[80], line[160];
  snprintf(own, sizeof own, "%s/own.lua", dir);
  FILE *f = fopen(own, "w");
  assert_non_null(f);
  fclose(f);
  pt_config *c = load("local p = require 'puerta'\n"
                      "return p.config { listeners = { p.redis { bind = '*:1', nodes = { 'a:1' }, policy = 'own.lua' } } }\n");
  assert_string_equal(c->listeners->policy.name, own);
  pt_config_unref(c);
  snprintf(line, sizeof line, "policy = \"%s\"", own);
  assert_int_equal(pt_config_dump(path, NULL, &text, &errors), 0);
  assert_non_null(strstr(text, line));
  free(text);
  unlink(own);
}

/* ---- what a reload may change ---- */

/* One other value for each option: of the whole, and of the listener. */
struct change {
  const char *option, *top, *body;
};
/* What listeners of both kinds have. */
#define COMMON_CHANGES                                                                                                           \
  {"max_connections", "", "max_connections = 7"}, {"max_per_source", "", "max_per_source = 7"},                                  \
      {"source_prefix", "", "source_prefix = { v4 = 7 }"}, {"accept_rate", "", "accept_rate = 7"},                               \
      {"allow", "", "allow = { '::1' }"}, {"tls", "", "tls = { cert = 't.pem', key = 't.pem' }"},                                \
      {"backend_tls", "", "backend_tls = {}"}, {"deny", "", "deny = { '::1' }"}, {                                               \
    "backlog", "", "backlog = 7"                                                                                                 \
  }
static const struct change redis_changes[] = {
    {"workers", "workers = 2,", ""},
    {"daemon", "daemon = true,", ""},
    {"admin", "admin = {},", ""},
    {"pid_file", "pid_file = '/a',", ""},
    {"upgrade", "upgrade = { socket = '/a' },", ""},
    {"user", "user = 'u',", ""},
    {"group", "user = 'u', group = 'g',", ""},
    {"log", "log = { level = 'warn', format = 'json' },", ""},
    {"drain_timeout", "drain_timeout = '7s',", ""},
    {"coalesce", "coalesce = '7us',", ""},
    {"watchdog", "watchdog = { warn = '7s', abort = '9s' },", ""},
    {"max_connections", "max_connections = 7,", ""},
    {"accept_rate", "accept_rate = 7,", ""},
    {"memory", "memory = { max = '77MiB' },", ""},
    {"listeners", NULL, NULL},
    {"bind", "", "bind = '*:2'"},
    {"nodes", "", "nodes = { 'b:1' }"},
    {"name", "", "name = 'other'"},
    {"auth", "", "auth = { password = 'x' }"},
    {"backend_auth", "", "backend_auth = { password = 'x' }"},
    {"policy", "", "policy = 'c'"},
    {"slot_refresh", "", "slot_refresh = '7s'"},
    {"max_redirects", "", "max_redirects = 7"},
    {"connections", "", "connections = 7"},
    {"connect_timeout", "", "connect_timeout = '7s'"},
    {"request_timeout", "", "request_timeout = '7s'"},
    {"idle_timeout", "", "idle_timeout = '7s'"},
    {"handshake_timeout", "", "handshake_timeout = '7s'"},
    {"stall_timeout", "", "stall_timeout = '7s'"},
    {"retry_interval", "", "retry_interval = '7s'"},
    {"max_bulk", "", "max_bulk = '7MiB'"},
    {"stream_above", "", "stream_above = '7MiB'"},
    {"max_pipeline", "", "max_pipeline = 7"},
    {"client_buffer", "", "client_buffer = '7MiB'"},
    {"max_request", "", "max_request = '7MiB'"},
    {"node_backlog", "", "node_backlog = '7MiB'"},
    {"remap", "", "remap = { ['a:1'] = 'b:1' }"},
    COMMON_CHANGES,
};
static const struct change mongo_changes[] = {
    {"bind", "", "bind = '*:2'"},
    {"backends", "", "backends = { p.backend { 'b:1' } }"},
    {"name", "", "name = 'other'"},
    {"forward", "", "forward = 'connection'"},
    {"affinity", "", "affinity = 'socket_addr'"},
    {"session_timeout", "", "session_timeout = '7s'"},
    {"max_sessions", "", "max_sessions = 7"},
    {"prefix", "", "prefix = { v4 = 7 }"},
    {"fingerprint_ip", "", "fingerprint_ip = false"},
    {"pool", "", "pool = { max = 7 }"},
    {"timeouts", "", "timeouts = { connect = '7s' }"},
    {"buffer", "", "buffer = '7MiB'"},
    {"health", "", "health = { rise = 7 }"},
    {"proxy_protocol", "", "proxy_protocol = { from = { '::1' } }"},
    {"auth", "", "auth = { user = 'u', verifier = '" VERIFIER "' }"},
    {"backend_auth", "", "backend_auth = { user = 'u', password = 'p' }"},
    {"compression", "", "compression = { 'zlib' }"},
    COMMON_CHANGES,
};

/* The one listener with the change in place of the option it changes. */
static pt_config *load_redis(const struct change *ch) {
  char text[1024];
  const char *option = ch ? ch->option : "", *body = ch && ch->body ? ch->body : "";
  snprintf(text, sizeof text,
           "local p = require 'puerta'\n"
           "return p.config { %s listeners = { p.redis { %s %s %s %s } %s } }\n",
           ch && ch->top ? ch->top : "", strcmp(option, "bind") ? "bind = '*:1'," : "",
           strcmp(option, "nodes") ? "nodes = { 'a:1' }," : "", strcmp(option, "name") ? "name = 'same'," : "", body,
           ch && !ch->body ? ", p.redis { bind = '*:9', nodes = { 'a:1' } }" : "");
  return load(text);
}

static pt_config *load_mongo(const struct change *ch) {
  char text[1024];
  const char *option = ch ? ch->option : "";
  snprintf(text, sizeof text, "local p = require 'puerta'\nreturn p.config { listeners = { p.mongodb { %s %s %s %s %s } } }\n",
           strcmp(option, "bind") ? "bind = '*:1'," : "", strcmp(option, "backends") ? "backends = { p.backend { 'a:1' } }," : "",
           strcmp(option, "name") ? "name = 'same'," : "", strcmp(option, "forward") ? "forward = 'request'," : "",
           ch ? ch->body : "");
  return load(text);
}

/* What the schema says of each option of the groups in `wanted`: "name 0|1" lines. */
static const char schema_script[] =
    "local out = {}\n"
    "for _, entry in ipairs(require('puerta.schema').groups) do\n"
    "  if wanted[entry[1]] then\n"
    "    for _, o in ipairs(entry[2].options) do out[#out + 1] = o[1] .. (o.restart and ' 1' or ' 0') end\n"
    "  end\n"
    "end\n"
    "return out\n";

/* Every option of the groups, changed as in changes: refused by name when the schema says restart, else not. */
static void compare(const char *wanted, const struct change *changes, int n, pt_config *(*load_one)(const struct change *)) {
  pt_config *was = load_one(NULL);
  lua_State *L = pt_state_new(NULL);
  assert_non_null(L);
  if (luaL_dostring(L, wanted) || luaL_dostring(L, schema_script))
    fail_msg("%s", lua_tostring(L, -1));
  assert_int_equal(lua_objlen(L, -1), n);
  bool seen[64] = {false};
  assert_true(n <= 64);
  for (int i = 1; i <= n; i++) {
    char name[64], err[64] = "", expected[80];
    int restart;
    lua_rawgeti(L, -1, i);
    assert_int_equal(sscanf(lua_tostring(L, -1), "%63s %d", name, &restart), 2);
    lua_pop(L, 1);
    const struct change *ch = changes;
    while (ch < changes + n && (strcmp(ch->option, name) || seen[ch - changes]))
      ch++;
    if (ch == changes + n)
      fail_msg("%s: not tested", name);
    seen[ch - changes] = true; /* the whole and a listener may have options of one name */
    pt_config *is = load_one(ch);
    int rc = pt_config_restart_diff(was, is, err, sizeof err);
    snprintf(expected, sizeof expected, "%s%s", ch->body && *ch->body ? "listeners[1]." : "", name);
    if (rc != (restart ? -1 : 0) || strcmp(err, restart ? expected : ""))
      fail_msg("%s: restart %d, diff %d \"%s\"", name, restart, rc, err);
    pt_config_unref(is);
  }
  lua_close(L);
  pt_config_unref(was);
}
#define COMPARE(wanted, changes, load_one) compare("wanted = " wanted, changes, sizeof changes / sizeof *changes, load_one)

static void restart_options_are_those_of_the_schema(void **state) {
  (void)state;
  COMPARE("{ ['puerta.config'] = true, ['puerta.redis'] = true }", redis_changes, load_redis);
  COMPARE("{ ['puerta.mongodb'] = true }", mongo_changes, load_mongo);
}

static void a_listener_of_another_kind(void **state) {
  (void)state;
  char err[64];
  pt_config *was =
      load("local p = require 'puerta' return p.config { listeners = { p.redis { bind = '*:1', nodes = { 'a:1' } } } }");
  pt_config *is = load("local p = require 'puerta' return p.config { listeners = { p.mongodb { bind = '*:1', backends = { "
                       "p.backend { 'a:1' } } } } }");
  assert_int_equal(pt_config_restart_diff(was, is, err, sizeof err), -1);
  assert_string_equal(err, "listeners[1].kind");
  pt_config_unref(was);
  pt_config_unref(is);
}

/* ---- the state ---- */

static void embedded_modules_come_first(void **state) {
  (void)state;
  lua_State *L = pt_state_new(NULL);
  assert_non_null(L);
  /* A file of the same name in the working directory must not be found before the module in the binary. */
  if (luaL_dostring(L, "package.path = '/nowhere/?.lua'\n"
                       "local schema = require 'puerta.schema'\n"
                       "assert(require('puerta').DEFAULT == -1)\n"
                       "local ok, why = pcall(require, 'puerta.nothing')\n"
                       "assert(not ok and why:find(\"no embedded module 'puerta.nothing'\", 1, true))\n"
                       "local line = debug.getinfo(schema.root.check, 'S').source\n"
                       "assert(line == '@lua/puerta/shape.lua', line)"))
    fail_msg("%s", lua_tostring(L, -1));
  lua_close(L);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(defaults),
      cmocka_unit_test(tls),
      cmocka_unit_test(mongodb_defaults),
      cmocka_unit_test(every_option),
      cmocka_unit_test(errors_in_full),
      cmocka_unit_test(a_broken_lua_path),
      cmocka_unit_test(a_lua_path_is_kept),
      cmocka_unit_test(the_dump_is_a_configuration),
      cmocka_unit_test(a_policy_beside_the_file),
      cmocka_unit_test(restart_options_are_those_of_the_schema),
      cmocka_unit_test(a_listener_of_another_kind),
      cmocka_unit_test(embedded_modules_come_first),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
