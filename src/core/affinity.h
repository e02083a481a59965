/* The door to affinity policies of MongoDB listeners: who a connection is (identify), and which backend it or its session gets (pick). Implemented by
 * script/affinity_lua. One instance per listener and worker, used by that worker's thread alone; both hooks are cold: once a connection, once a session. */
#ifndef PT_CORE_AFFINITY_H
#define PT_CORE_AFFINITY_H

#include <stdbool.h>

#include "core/policy.h" /* for puerta_ffi.h, which has no guard */

enum {
  PT_PICK_DEFAULT = -1,
  PT_PICK_FAILED = -3
};

typedef struct pt_affinity pt_affinity;
struct pt_affinity {
  const char *name; /* for logs: "hybrid (conf/x.lua:12)" */
  bool by_session; /* forward = "request": what carries an lsid is placed by it */
  pt_conn_view *conn; /* owned by the policy; the core fills it before identify */
  pt_session_view *session; /* owned by the policy; the core fills it before pick */
  pt_backends_view *backends; /* owned by the policy; the core points .at into its own array */
  uint64_t calls, failures;
  char error[256]; /* the last failure, "file:line: text"; empty: none */
  /* The key of the connection in conn, 0: none (each connection for itself). 0, or -1: the hook failed, *key is 0. NULL: no hook. */
  int (*identify)(pt_affinity *a, uint64_t *key);
  /* Index into backends->at, PT_PICK_DEFAULT, or PT_PICK_FAILED. NULL: no hook. */
  int (*pick)(pt_affinity *a);
  void (*free)(pt_affinity *a);
};

#endif
