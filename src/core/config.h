/* The configuration as the core sees it: an immutable tree of plain C, built by script/config_lua from the Lua file.
 * Owned by reference count (pt_config_ref/unref, any thread); never changed once published. Strings are NUL-terminated and owned by the tree.
 * Times are in milliseconds, sizes in bytes. Defaults live in lua/puerta/schema.lua and nowhere else. */
#ifndef PT_CORE_CONFIG_H
#define PT_CORE_CONFIG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/cidr.h"
#include "net/tls.h"

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
  char *
      name; /* "slot_owner", "read_replica", "read_near", of MongoDB "hybrid", "fingerprint", "session_id", "socket_addr", or a module path ending in .lua;
               * "c" is the C slot owner */
  char *opts; /* the options table as a Lua expression, e.g. {["zone"]="a"}; "{}" by default */
  char *where; /* file:line of the declaration, for messages */
} pt_policy_config;

/* A mongos. */
typedef struct pt_backend_config {
  pt_hostport at;
  unsigned weight; /* 1..1000, 1 */
  bool drain; /* gets nothing new; its idle connections are closed */
} pt_backend_config;

/* A user clients may authenticate as, by SCRAM. */
typedef struct pt_mongo_user {
  char *name;
  char *verifier; /* "SCRAM-SHA-256$4096:salt$StoredKey:ServerKey", checked when the configuration was loaded */
} pt_mongo_user;

typedef enum pt_proxy_send {
  PT_PROXY_OFF,
  PT_PROXY_V1,
  PT_PROXY_V2
} pt_proxy_send;

typedef struct pt_mongo_config {
  pt_backend_config *backends;
  unsigned nbackends;
  bool per_request; /* forward = "request" */
  uint64_t session_timeout; /* ms, "30m": an identity, session or cursor without use is remembered so long */
  unsigned max_sessions; /* entries of the session table, 100000 */
  unsigned prefix_v4, prefix_v6; /* bits of the source address that count for affinity: 0..32, 32; 0..128, 64 */
  bool fingerprint_ip; /* the address prefix belongs to the fingerprint, true */
  /* pool: forward = "request"; per worker and backend */
  unsigned pool_min, pool_max; /* 0, 16 */
  uint64_t pool_idle; /* ms an unused connection above min is kept, "10m" */
  uint64_t pool_wait; /* ms a request waits for a free connection, "5s" */
  unsigned pool_queue; /* requests that may wait per worker and backend, 10000 */
  /* timeouts, ms */
  uint64_t connect_timeout; /* "1s", greeting included */
  uint64_t handshake_timeout; /* a client has to say hello within, "10s" */
  uint64_t idle_timeout; /* a client that sends nothing for so long is cut, "1h", at least 30m */
  uint64_t request_timeout; /* a reply takes at most this; "0s": for ever, the default: queries may take long */
  uint64_t stall_timeout; /* a client may stand still in a request or reply for so long, 0: for ever, "60s" */
  /* limits */
  uint64_t buffer; /* bytes waiting in one direction of one client before its sender is not read any more, "256KiB" */
  /* health */
  uint64_t health_interval, health_timeout; /* ms, "2s", "1s" */
  unsigned health_jitter; /* percent of the interval, 0..50, 10 */
  unsigned health_rise, health_fall, health_retries; /* 2, 2, 0 */
  uint64_t slow_start; /* ms, "30s", 0: off */
  bool require_mongos; /* msg: "isdbgrid" is needed; false */
  uint64_t resolve; /* ms between resolutions of the backends' names, "30s" */
  /* PROXY protocol */
  pt_cidr *trusted; /* who may send a header, and must */
  unsigned ntrusted;
  pt_proxy_send proxy_send; /* to backends; forward = "connection" only */
  /* authentication; forward = "request" only */
  pt_mongo_user *users; /* none: clients need not authenticate */
  unsigned nusers;
  char *backend_user, *backend_password, *backend_source; /* NULL: none; source: "admin" */
  int backend_mechanism; /* 0: the best both know, 1, 256 */
  uint8_t compressors; /* bits 1 << id offered to clients (forward = "request") */
} pt_mongo_config;

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
  /* who may come in; 0: no limit */
  pt_cidr *allow, *deny; /* allow: nobody else; deny wins */
  unsigned nallow, ndeny;
  unsigned max_connections, accept_rate, max_per_source;
  unsigned source_v4, source_v6; /* bits of an address that make a source: 0..32, 32; 0..128, 64 */
  pt_tls_options *tls_options, *backend_tls_options; /* NULL: plain */
  pt_tls_context *tls, *backend_tls; /* made of them when the configuration was loaded; NULL: plain */

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
  uint64_t idle_timeout; /* ms a client may do nothing, 0: for ever, "0s" */
  uint64_t handshake_timeout; /* ms until it has authenticated, 0: for ever, "10s" */
  uint64_t stall_timeout; /* ms it may stand still in a request or reply, 0: for ever, "60s" */
  uint64_t retry_interval; /* ms a failed node stays open before a half-open probe, "1s" */
  uint64_t max_bulk; /* "512MiB" */
  uint64_t stream_above; /* requests larger than this are streamed and cannot be retried, "1MiB", 64KiB..16MiB */
  unsigned max_pipeline; /* unanswered requests of one client before its reads stop, 1..65536, 1024 */
  uint64_t client_buffer; /* bytes of replies one client may leave unread before it is cut, "256MiB" */
  uint64_t max_request; /* bytes of one request that has to be held whole (those streamed are not), "512MiB" */
  uint64_t node_backlog; /* bytes of unanswered requests one upstream connection may hold before new ones are refused, "64MiB" */

  pt_mongo_config *mongo; /* kind MONGODB, else NULL */
} pt_listener_config;

typedef enum pt_log_format {
  PT_LOG_TEXT,
  PT_LOG_JSON
} pt_log_format;

/* The admin server, for metrics, status and commands of operators. */
typedef struct pt_admin_config {
  bool on;
  char *path; /* a unix socket; NULL: bind counts, or, without one, admin.sock in the run directory */
  pt_hostport bind; /* host NULL: none */
  char *token; /* NULL: none is asked for */
  uint64_t slow; /* us: requests that take so long are remembered, 0: none; "100ms" */
  char *where; /* file:line */
} pt_admin_config;

typedef struct pt_config {
  atomic_uint refs;
  uint64_t generation; /* set by the publisher */
  char *file;
  unsigned workers; /* 0: one per core */
  bool daemon; /* in the background, false */
  char *upgrade_socket; /* path; NULL: one of its own in the run directory */
  char *pid_file; /* NULL: none */
  char *user, *group; /* to become once everything is bound; NULL: nobody else, the user's own */
  char *log_level; /* "debug" "info" "warn" "error" */
  pt_log_format log_format;
  bool access_connections; /* log.access */
  unsigned access_every; /* one of so many requests, 0: none */
  char *access_to; /* as log_to; NULL: where the log goes */
  char *log_to; /* "stderr", "syslog", "journald" (with ":/path" for another socket), or a file's path */
  char *lua_path; /* directory of the Lua half in development; NULL: the embedded one */
  uint64_t drain_timeout; /* ms, "30s" */
  uint64_t coalesce; /* us a worker may sleep to let requests of many clients gather ("100us"), 0: off ("0us") */
  uint64_t watchdog_warn; /* ms, "100ms" */
  uint64_t watchdog_abort; /* ms, "2s", 0: never */
  unsigned max_connections, accept_rate; /* of all listeners; 0: no limit */
  pt_admin_config admin;
  uint64_t memory_max; /* bytes of buffers, 0: no ceiling */
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
