/* The options of puerta.mongodb. */
#include <lauxlib.h>
#include <string.h>

#include "script/fields.h"
#include "wire/mongo_compress.h"

#define MONGO(group, name, type, member)                                                                                         \
  { group, name, PT_FIELD_##type, offsetof(pt_mongo_config, member) }
static const pt_field mongo_fields[] = {MONGO(NULL, "session_timeout", U64, session_timeout),
                                        MONGO(NULL, "max_sessions", UINT, max_sessions),
                                        MONGO("prefix", "v4", UINT, prefix_v4),
                                        MONGO("prefix", "v6", UINT, prefix_v6),
                                        MONGO(NULL, "fingerprint_ip", BOOL, fingerprint_ip),
                                        MONGO("pool", "min", UINT, pool_min),
                                        MONGO("pool", "max", UINT, pool_max),
                                        MONGO("pool", "idle", U64, pool_idle),
                                        MONGO("pool", "wait", U64, pool_wait),
                                        MONGO("pool", "queue", UINT, pool_queue),
                                        MONGO("timeouts", "connect", U64, connect_timeout),
                                        MONGO("timeouts", "handshake", U64, handshake_timeout),
                                        MONGO("timeouts", "idle", U64, idle_timeout),
                                        MONGO("timeouts", "request", U64, request_timeout),
                                        MONGO("timeouts", "stall", U64, stall_timeout),
                                        MONGO(NULL, "buffer", U64, buffer),
                                        MONGO("health", "interval", U64, health_interval),
                                        MONGO("health", "timeout", U64, health_timeout),
                                        MONGO("health", "jitter", UINT, health_jitter),
                                        MONGO("health", "rise", UINT, health_rise),
                                        MONGO("health", "fall", UINT, health_fall),
                                        MONGO("health", "retries", UINT, health_retries),
                                        MONGO("health", "slow_start", U64, slow_start),
                                        MONGO("health", "require_mongos", BOOL, require_mongos),
                                        MONGO("health", "resolve", U64, resolve),
                                        MONGO("backend_auth", "user", TEXT, backend_user),
                                        MONGO("backend_auth", "password", TEXT, backend_password),
                                        MONGO("backend_auth", "source", TEXT, backend_source),
                                        {0}};
static const pt_field backend_fields[] = {{NULL, "weight", PT_FIELD_UINT, offsetof(pt_backend_config, weight)},
                                          {NULL, "drain", PT_FIELD_BOOL, offsetof(pt_backend_config, drain)},
                                          {0}};
static const pt_field user_fields[] = {{NULL, "user", PT_FIELD_TEXT, offsetof(pt_mongo_user, name)},
                                       {NULL, "verifier", PT_FIELD_TEXT, offsetof(pt_mongo_user, verifier)},
                                       {0}};

static void read_backend(lua_State *L, void *backend) {
  pt_backend_config *b = backend;
  lua_rawgeti(L, -1, 1);
  pt_fields_hostport(L, &b->at);
  lua_pop(L, 1);
  pt_fields_read(L, backend_fields, b);
}

static void read_user(lua_State *L, void *user) { pt_fields_read(L, user_fields, user); }

static uint8_t read_compressors(lua_State *L) {
  uint8_t set = 0;
  lua_getfield(L, -1, "compression");
  for (int i = 1; lua_istable(L, -1) && i <= (int)lua_objlen(L, -1); i++) {
    lua_rawgeti(L, -1, i);
    const char *word = lua_tostring(L, -1);
    set |= (uint8_t)(1u << (!strcmp(word, "snappy") ? PT_COMPRESS_SNAPPY
                            : !strcmp(word, "zlib") ? PT_COMPRESS_ZLIB
                                                    : PT_COMPRESS_ZSTD));
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return set;
}

static void read_proxy_protocol(lua_State *L, pt_mongo_config *m) {
  lua_getfield(L, -1, "proxy_protocol");
  if (lua_istable(L, -1)) {
    PT_FIELDS_LIST(L, "from", m->trusted, m->ntrusted, pt_fields_cidr);
    m->proxy_send = pt_fields_is(L, "send", "v1") ? PT_PROXY_V1 : pt_fields_is(L, "send", "v2") ? PT_PROXY_V2 : PT_PROXY_OFF;
  }
  lua_pop(L, 1);
}

void pt_fields_mongo(lua_State *L, pt_mongo_config *m) {
  pt_fields_read(L, mongo_fields, m);
  PT_FIELDS_LIST(L, "backends", m->backends, m->nbackends, read_backend);
  PT_FIELDS_LIST(L, "auth", m->users, m->nusers, read_user);
  read_proxy_protocol(L, m);
  m->per_request = pt_fields_is(L, "forward", "request");
  m->compressors = read_compressors(L);
  lua_getfield(L, -1, "backend_auth");
  if (lua_istable(L, -1))
    m->backend_mechanism = pt_fields_is(L, "mechanism", "SCRAM-SHA-256") ? 256
                           : pt_fields_is(L, "mechanism", "SCRAM-SHA-1") ? 1
                                                                         : 0;
  lua_pop(L, 1);
}
