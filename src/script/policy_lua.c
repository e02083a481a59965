#include "script/policy_lua.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "script/hook.h"
#include "script/state.h"
#include "wire/command.h"

/* The layout both languages count on; spec/ffi_spec.lua asserts the same from the other side. */
_Static_assert(sizeof(pt_request) == 64 && offsetof(pt_request, flags) == 24 && offsetof(pt_request, slot) == 28 &&
                   offsetof(pt_request, node) == 40 && offsetof(pt_request, client_ip) == 44,
               "pt_request");
_Static_assert(sizeof(pt_view_node) == 144 && offsetof(pt_view_node, port) == 96 && offsetof(pt_view_node, up) == 99 &&
                   offsetof(pt_view_node, inflight) == 104 && offsetof(pt_view_node, replicas) == 108 &&
                   offsetof(pt_view_node, latency_us) == 140,
               "pt_view_node");
_Static_assert(sizeof(pt_view) == 32 && offsetof(pt_view, nnodes) == 8 && offsetof(pt_view, owner) == 16 &&
                   offsetof(pt_view, nodes) == 24,
               "pt_view");
/* Constants the Lua half repeats: request.lua, api.lua, driver.lua, policy_load.lua. */
_Static_assert(PT_CMD_READONLY == 1 && PT_CMD_WRITE == 2, "request.lua");
_Static_assert(PT_WHY_MOVED == 0 && PT_WHY_ASK == 1 && PT_WHY_TRYAGAIN == 2 && PT_WHY_CLUSTERDOWN == 3 && PT_WHY_LOST == 4,
               "api.lua");
_Static_assert(PT_ACT_DEFAULT == 0 && PT_ACT_RETRY == 1 && PT_ACT_FAIL == 2 && PT_BATCH == 64, "driver.lua");
_Static_assert(PT_ROUTE_DEFAULT == -1 && PT_ROUTE_REJECT == -2 && PT_ROUTE_FAILED == -3, "driver.lua");
_Static_assert(sizeof(((pt_policy *)0)->error) == 256, "failure.lua");

/* Where the results of policy_load.load lie in the state's stack, for good. */
enum {
  ONE = 1,
  MANY,
  REDIRECT,
  WARM_UP
};

typedef struct lua_policy {
  pt_request batch[PT_BATCH];
  pt_request cold; /* the request of redirect() */
  pt_policy base;
  pt_view view;
  lua_State *L;
  char name[];
} lua_policy;

static lua_policy *of(pt_policy *p) { return (lua_policy *)((char *)p - offsetof(lua_policy, base)); }

/* ---- calls ---- */

/* The driver itself raised (no memory): cold. Takes the message off the stack. */
static void broken(lua_policy *lp, unsigned n) {
  pt_hook_error(lp->L, lp->base.error, sizeof lp->base.error);
  lp->base.failures += n;
}

static void route(pt_policy *p, unsigned n) {
  lua_policy *lp = of(p);
  int e;
  p->calls += n;
  if (n == 1) {
    lua_pushvalue(lp->L, ONE);
    e = lua_pcall(lp->L, 0, 0, 0);
  } else {
    lua_pushvalue(lp->L, MANY);
    lua_pushinteger(lp->L, (lua_Integer)n);
    e = lua_pcall(lp->L, 1, 0, 0);
  }
  if (!e)
    return;
  broken(lp, n);
  for (unsigned i = 0; i < n; i++)
    lp->batch[i].node = PT_ROUTE_FAILED;
}

static pt_action redirect(pt_policy *p, const pt_request *req, pt_why why, int16_t *node) {
  lua_policy *lp = of(p);
  p->calls++;
  lp->cold = *req;
  lp->cold.node = *node;
  lua_pushvalue(lp->L, REDIRECT);
  lua_pushinteger(lp->L, why);
  if (lua_pcall(lp->L, 1, 1, 0)) {
    broken(lp, 1);
    return PT_ACT_DEFAULT;
  }
  pt_action act = (pt_action)lua_tointeger(lp->L, -1);
  lua_pop(lp->L, 1);
  *node = lp->cold.node;
  return act;
}

static void destroy(pt_policy *p) {
  lua_policy *lp = of(p);
  if (lp->L)
    lua_close(lp->L);
  free(lp);
}

/* ---- loading ---- */

/* (lua_policy, name, options) -> one, many, redirect, warm_up */
static int load(lua_State *L) {
  lua_policy *lp = lua_touserdata(L, 1);
  pt_hook_loader(L, "puerta.policy_load");
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 3);
  lua_pushlightuserdata(L, lp->batch);
  lua_pushlightuserdata(L, &lp->cold);
  lua_pushlightuserdata(L, &lp->view);
  lua_pushlightuserdata(L, &lp->base.failures);
  lua_pushlightuserdata(L, lp->base.error);
  lua_pushlightuserdata(L, &lp->base.aborts);
  lua_call(L, 8, 4);
  return 4;
}

/* Leaves the four functions on the stack, and nothing else. */
static int start(lua_policy *lp, const pt_policy_config *pc) {
  lua_State *L = lp->L;
  lua_settop(L, 0);
  lua_pushcfunction(L, load);
  lua_pushlightuserdata(L, lp);
  lua_pushstring(L, pc->name);
  lua_pushstring(L, pc->opts ? pc->opts : "{}");
  int e = pt_hook_pcall_bounded(L, 3, 4);
  if (e)
    return e;
  lua_pushvalue(L, WARM_UP);
  return lua_pcall(L, 0, 0, 0);
}

static lua_policy *make(const pt_policy_config *pc) {
  lua_policy *lp = aligned_alloc(64, (sizeof *lp + pt_hook_name_size(pc) + 63) & ~(size_t)63);
  if (!lp)
    return NULL;
  *lp = (lua_policy){.base = {.name = lp->name, .batch = lp->batch, .view = &lp->view, .free = destroy}};
  pt_hook_name(pc, lp->name);
  return lp;
}

pt_policy *pt_policy_lua(const pt_policy_config *pc, const char *lua_path, char *err, size_t errsize) {
  lua_policy *lp = make(pc);
  if (!lp || !(lp->L = pt_state_new(lua_path))) {
    snprintf(err, errsize, "policy %s: out of memory", pc->name);
    goto fail;
  }
  if (start(lp, pc)) {
    const char *text = lua_tostring(lp->L, -1);
    snprintf(err, errsize, "policy %s: %s", lp->name, text ? text : "an error without a text");
    goto fail;
  }
  if (!lua_isnil(lp->L, ONE))
    lp->base.route = route;
  if (!lua_isnil(lp->L, REDIRECT))
    lp->base.redirect = redirect;
  lp->base.error[0] = '\0';
  return &lp->base;
fail:
  if (lp)
    destroy(&lp->base);
  return NULL;
}

size_t pt_policy_lua_heap(pt_policy *p) {
  lua_State *L = of(p)->L;
  return (size_t)lua_gc(L, LUA_GCCOUNT, 0) * 1024 + (size_t)lua_gc(L, LUA_GCCOUNTB, 0);
}
