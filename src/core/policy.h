/* The door to a policy: how the core asks where a request goes. Implemented by script/policy_lua (Lua) and core/policy_c (C).
 * One instance per listener and worker, used by that worker's thread alone. */
#ifndef PT_CORE_POLICY_H
#define PT_CORE_POLICY_H

#include <stddef.h>
#include <stdint.h>

#include "script/puerta_ffi.h"

enum {
  PT_ROUTE_DEFAULT = -1,
  PT_ROUTE_REJECT = -2,
  PT_ROUTE_FAILED = -3,
  PT_BATCH = 64
};

typedef enum pt_why {
  PT_WHY_MOVED,
  PT_WHY_ASK,
  PT_WHY_TRYAGAIN,
  PT_WHY_CLUSTERDOWN,
  PT_WHY_LOST
} pt_why;
typedef enum pt_action {
  PT_ACT_DEFAULT,
  PT_ACT_RETRY,
  PT_ACT_FAIL
} pt_action;

typedef struct pt_policy pt_policy;
struct pt_policy {
  const char *name; /* for logs: "read_near (conf/x.lua:12)" */
  pt_request *batch; /* [PT_BATCH], owned by the policy; the core fills batch[0..n) and reads .node back */
  pt_view *view; /* owned by the policy; the core points owner/nodes into its own tables */
  uint64_t calls, failures; /* requests asked, requests whose call raised or answered nonsense; counted by the implementation */
  uint64_t aborts; /* LuaJIT trace aborts so far, 0 for C */
  char error[256]; /* the last failure, "file:line: text"; empty: none */
  /* Answers batch[0..n), 1 <= n <= PT_BATCH: sets .node of each. Never fails: a request whose call failed gets PT_ROUTE_FAILED. NULL: no hook, all DEFAULT. */
  void (*route)(pt_policy *p, unsigned n);
  /* What to do after a redirect or loss; *node is the id proposed by the core and may be changed. NULL: no hook. */
  pt_action (*redirect)(pt_policy *p, const pt_request *req, pt_why why, int16_t *node);
  void (*free)(pt_policy *p);
};

/* The C slot owner: same behaviour as lua/puerta/policy/slot_owner.lua, for the benchmark and as the fallback. NULL: no memory. */
pt_policy *pt_policy_c(void);

#endif
