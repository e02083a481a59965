/* The configuration as the core sees it: an immutable tree of plain C, built by script/config_lua from the Lua file.
 * Owned by reference count (pt_config_ref/unref, any thread); never changed once published. Strings are NUL-terminated and owned by the tree.
 * Times are in milliseconds, sizes in bytes. Defaults live in lua/puerta/schema.lua and nowhere else. */
#ifndef PT_CORE_CONFIG_H
#define PT_CORE_CONFIG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct pt_hostport {
  char *host; /* name or literal address, IPv6 without brackets */
  uint16_t port;
} pt_hostport;

/* A user that clients may authenticate as (AUTH). */
typedef struct pt_user {
  char *name; /* "default" when the config gives only a password */
  char *password;
} pt_user;

/* Where cluster nodes announce one address and are reached at another. */
typedef struct pt_remap {
  pt_hostport from, to;
} pt_remap;

typedef struct pt_policy_config {
  char *name; /* "slot_owner", "read_replica", "read_near", or a module path ending in .lua; "c" is the C slot owner */
  char *opts; /* the options table as a Lua expression, e.g. {["zone"]="a"}; "{}" by default */
  char *where; /* file:line of the declaration, for messages */
} pt_policy_config;

typedef enum pt_listener_kind {
  PT_LISTENER_REDIS,
  PT_LISTENER_MONGODB
} pt_listener_kind;

typedef struct pt_listener_config {
  pt_listener_kind kind;
  char *name;
  char *where; /* file:line */
  pt_hostport bind;
  unsigned backlog; /* listen(2), default 1024 */

  /* redis */
  pt_hostport *nodes; /* seeds */
  unsigned nnodes;
  pt_user *users; /* auth at the door; none: open */
  unsigned nusers;
  char *backend_user; /* NULL: none */
  char *backend_password; /* NULL: none */
  pt_policy_config policy;
  pt_remap *remap;
  unsigned nremap;
  uint64_t slot_refresh; /* ms, "60s" */
  unsigned max_redirects; /* 0..15, 5 */
  unsigned connections; /* upstream connections per worker and node, 1..16, 1 */
  uint64_t connect_timeout; /* ms, "1s" */
  uint64_t request_timeout; /* ms, "5s" */
  uint64_t retry_interval; /* ms a failed node stays open before a half-open probe, "1s" */
  uint64_t max_bulk; /* "512MiB" */
  uint64_t stream_above; /* requests larger than this are streamed and cannot be retried, "1MiB", 64KiB..16MiB */
  unsigned max_pipeline; /* unanswered requests of one client before its reads stop, 1..65536, 1024 */
  uint64_t client_buffer; /* bytes of replies one client may leave unread before it is cut, "256MiB" */
  uint64_t max_request; /* bytes of one request that has to be held whole (those streamed are not), "512MiB" */
  uint64_t node_backlog; /* bytes of unanswered requests one upstream connection may hold before new ones are refused, "64MiB" */

  /* mongodb: validated, not built yet */
  pt_hostport *backends;
  unsigned nbackends;
} pt_listener_config;

typedef enum pt_log_format {
  PT_LOG_TEXT,
  PT_LOG_JSON
} pt_log_format;

typedef struct pt_config {
  atomic_uint refs;
  uint64_t generation; /* set by the publisher */
  char *file;
  unsigned workers; /* 0: one per core */
  char *log_level; /* "debug" "info" "warn" "error" */
  pt_log_format log_format;
  char *lua_path; /* directory of the Lua half in development; NULL: the embedded one */
  uint64_t drain_timeout; /* ms, "30s" */
  uint64_t coalesce; /* us a worker may sleep to let requests of many clients gather ("100us"), 0: off ("0us") */
  uint64_t watchdog_warn; /* ms, "100ms" */
  uint64_t watchdog_abort; /* ms, "2s", 0: never */
  pt_listener_config *listeners;
  unsigned nlisteners;
} pt_config;

/* New empty configuration with one reference. NULL: no memory. */
pt_config *pt_config_new(void);
pt_config *pt_config_ref(pt_config *c);
/* Gives one reference back; the last one frees the tree and wipes the secrets. NULL is allowed. */
void pt_config_unref(pt_config *c);

/* Names the first restart-only difference between two configurations in err ("listeners[1].bind", ...). 0: none, -1: there is one. */
int pt_config_restart_diff(const pt_config *was, const pt_config *is, char *err, size_t errsize);

#endif
