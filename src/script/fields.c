#include "script/fields.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

char *pt_fields_copy(lua_State *L, const char *s) {
  char *c = strdup(s);
  if (!c)
    luaL_error(L, "out of memory");
  return c;
}

void *pt_fields_alloc(lua_State *L, unsigned *n, size_t size) {
  *n = (unsigned)lua_objlen(L, -1);
  void *p = calloc(*n ? *n : 1, size);
  if (!p) {
    *n = 0;
    luaL_error(L, "out of memory");
  }
  return p;
}

static void read_field(lua_State *L, const pt_field *f, char *base) {
  if (lua_isnil(L, -1))
    return;
  switch (f->type) {
  case PT_FIELD_TEXT:
    *(char **)(base + f->at) = pt_fields_copy(L, lua_tostring(L, -1));
    break;
  case PT_FIELD_UINT:
    *(unsigned *)(base + f->at) = (unsigned)lua_tonumber(L, -1);
    break;
  case PT_FIELD_U64:
    *(uint64_t *)(base + f->at) = (uint64_t)lua_tonumber(L, -1);
    break;
  case PT_FIELD_BOOL:
    *(bool *)(base + f->at) = lua_toboolean(L, -1);
    break;
  }
}

void pt_fields_read(lua_State *L, const pt_field *f, void *base) {
  for (; f->name; f++) {
    int top = lua_gettop(L);
    if (f->group)
      lua_getfield(L, -1, f->group);
    if (lua_istable(L, -1)) {
      lua_getfield(L, -1, f->name);
      read_field(L, f, base);
    }
    lua_settop(L, top);
  }
}

void pt_fields_list(lua_State *L, const char *name, void *to, unsigned *n, size_t size, void (*element)(lua_State *, void *)) {
  lua_getfield(L, -1, name);
  if (lua_istable(L, -1)) {
    char *p = pt_fields_alloc(L, n, size);
    memcpy(to, &p, sizeof p);
    for (unsigned i = 0; i < *n; i++) {
      lua_rawgeti(L, -1, (int)i + 1);
      element(L, p + i * size);
      lua_pop(L, 1);
    }
  }
  lua_pop(L, 1);
}

void pt_fields_hostport(lua_State *L, pt_hostport *a) {
  lua_getfield(L, -1, "host");
  lua_getfield(L, -2, "port");
  a->port = (uint16_t)lua_tointeger(L, -1);
  a->host = pt_fields_copy(L, lua_tostring(L, -2));
  lua_pop(L, 2);
}

void pt_fields_cidr(lua_State *L, void *cidr) {
  pt_cidr *c = cidr;
  pt_address a;
  lua_getfield(L, -1, "host");
  lua_getfield(L, -2, "bits");
  if (pt_address_parse(&a, lua_tostring(L, -2), 0))
    luaL_error(L, "%s is not an address", lua_tostring(L, -2));
  pt_cidr_ip(&a, c->ip);
  c->bits = (uint8_t)(lua_tointeger(L, -1) + (a.sa.sa_family == AF_INET ? 96 : 0));
  pt_cidr_mask(c->ip, c->bits);
  lua_pop(L, 2);
}

bool pt_fields_is(lua_State *L, const char *name, const char *word) {
  lua_getfield(L, -1, name);
  bool is = lua_isstring(L, -1) && !strcmp(lua_tostring(L, -1), word);
  lua_pop(L, 1);
  return is;
}

char *pt_fields_where(lua_State *L, const char *file) {
  lua_getfield(L, -1, "line");
  char *where = pt_fields_copy(L, lua_pushfstring(L, "%s:%d", file, (int)lua_tointeger(L, -1)));
  lua_pop(L, 2);
  return where;
}
