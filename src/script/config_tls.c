/* The options `tls` and `backend_tls` of listeners. */
#include <lauxlib.h>
#include <stdlib.h>

#include "script/fields.h"

#define TLS(name, type, member)                                                                                                  \
  { NULL, name, PT_FIELD_##type, offsetof(pt_tls_options, member) }
static const pt_field tls_fields[] = {TLS("server_name", TEXT, server_name),
                                      TLS("ciphers", TEXT, ciphers),
                                      TLS("ciphersuites", TEXT, ciphersuites),
                                      TLS("session_tickets", BOOL, tickets),
                                      TLS("handshake_timeout", U64, handshake_timeout),
                                      {0}};

/* { path =, source = } */
static char *read_path(lua_State *L, const char *name) {
  char *path = NULL;
  lua_getfield(L, -1, name);
  if (lua_istable(L, -1)) {
    lua_getfield(L, -1, "path");
    path = pt_fields_copy(L, lua_tostring(L, -1));
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return path;
}

/* { name =, value = { cert =, key = } } */
static void read_name(lua_State *L, void *name) {
  pt_tls_name *n = name;
  lua_getfield(L, -1, "name");
  n->name = pt_fields_copy(L, lua_tostring(L, -1));
  lua_pop(L, 1);
  lua_getfield(L, -1, "value");
  n->cert = read_path(L, "cert");
  n->key = read_path(L, "key");
  lua_pop(L, 1);
}

static pt_tls_verify read_verify(lua_State *L, bool server) {
  if (server)
    return pt_fields_is(L, "client_auth", "required")   ? PT_TLS_VERIFY_REQUIRED
           : pt_fields_is(L, "client_auth", "optional") ? PT_TLS_VERIFY_OPTIONAL
                                                        : PT_TLS_VERIFY_NONE;
  lua_getfield(L, -1, "verify");
  bool on = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return on ? PT_TLS_VERIFY_REQUIRED : PT_TLS_VERIFY_NONE;
}

static void read_side(lua_State *L, const char *name, const char *file, bool server, pt_tls_options **to) {
  lua_getfield(L, -1, name);
  if (lua_istable(L, -1)) {
    pt_tls_options *o = *to = calloc(1, sizeof *o);
    if (!o)
      luaL_error(L, "out of memory");
    o->server = server;
    o->where = pt_fields_where(L, file);
    pt_fields_read(L, tls_fields, o);
    o->cert = read_path(L, "cert");
    o->key = read_path(L, "key");
    o->ca = read_path(L, "ca");
    o->verify = read_verify(L, server);
    o->tls13 = pt_fields_is(L, "min_version", "1.3");
    if (server)
      PT_FIELDS_LIST(L, "sni", o->names, o->nnames, read_name);
  }
  lua_pop(L, 1);
}

void pt_fields_tls(lua_State *L, const char *file, pt_listener_config *l) {
  read_side(L, "tls", file, true, &l->tls_options);
  read_side(L, "backend_tls", file, false, &l->backend_tls_options);
}
