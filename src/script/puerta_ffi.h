/* The door between the C core and policies: compiled by C and fed verbatim to LuaJIT's ffi.cdef.
 * So: no macros, no includes, no bitfields, no by-value structs, no callbacks. Nothing here may enter Lua, block or longjmp.
 * Sizes and offsets are asserted in script/policy_lua.c and in spec/ffi_spec.lua. */

/* One request of a batch. Valid only during the route() call it is passed to: keep nothing of it. 64 bytes. */
typedef struct pt_request {
  const uint8_t *key; /* first key, inside the client's read buffer; NULL when there is none */
  const uint8_t *frame; /* the whole request as RESP; NULL while it is streamed */
  uint32_t key_len;
  uint32_t frame_len;
  uint32_t flags; /* PT_CMD_* of the command */
  uint16_t slot; /* 0..16383, 0xffff without keys */
  uint16_t cmd; /* index into the command table */
  uint32_t argc;
  uint32_t client; /* index of the client in its worker */
  int16_t node; /* out: the policy's answer: a node id, -1 DEFAULT, -2 REJECT, anything else: a failed call */
  uint16_t reserved;
  uint32_t client_ip; /* source address, IPv4 in host order; 0 for IPv6 and unix */
  uint64_t reserved2[2];
} pt_request;

/* A node of the cluster as a policy sees it. Valid during the hook call; the ids are stable for one topology generation. */
typedef struct pt_view_node {
  char host[64]; /* NUL-terminated, cut when longer */
  char zone[32]; /* availability zone as the cluster tells it (Valkey 8), "" when it does not */
  uint16_t port;
  uint8_t replica; /* 1: a replica */
  uint8_t up; /* 1: healthy and not failing fast in this worker */
  int16_t master; /* id of its master, its own for a master */
  uint8_t nreplicas;
  uint8_t reserved;
  uint32_t inflight; /* requests of this worker waiting for it */
  int16_t replicas[16];
  uint32_t latency_us; /* moving average of this worker's replies, 0: unknown */
} pt_view_node;

/* The cluster as one worker sees it. One per listener and worker; lives as long as the policy does. */
typedef struct pt_view {
  uint64_t generation;
  uint32_t nnodes;
  uint32_t reserved;
  const int16_t *owner; /* [16384] node id of each slot's master, 0x7fff: none */
  pt_view_node *nodes; /* [nnodes] */
} pt_view;

/* A MongoDB client connection, for identify(). Valid during the call. */
typedef struct pt_conn_view {
  uint64_t
      fingerprint; /* first 8 bytes of the SHA-256 over what all connections of one client share; 0 without a client document */
  uint64_t address; /* of the masked source address; never 0 */
  uint8_t ip[16]; /* source address, IPv4 as ::ffff:a.b.c.d */
  uint16_t port; /* differs between connections of one client: not for keys */
  uint8_t has_client; /* 1: the hello had a client document */
  uint8_t load_balanced; /* 1: loadBalanced: true */
  uint8_t reserved[4];
  char app[132]; /* application.name, "" when absent; as the next */
  char driver[68];
  char driver_version[68];
  char ip_text[48];
} pt_conn_view;

/* What a backend is looked for, for pick(). Valid during the call. */
typedef struct pt_session_view {
  uint64_t key; /* of the session: its lsid's, else what identify() said, else random; never 0 */
  uint64_t identity; /* what identify() said of its connection, 0: nothing */
  uint8_t kind; /* 0 a connection, 1 a logical session (lsid), 2 a single request */
  uint8_t reserved[7];
} pt_session_view;

/* A backend as pick() sees it. Valid during the call; its index is the answer. */
typedef struct pt_backend_view {
  uint64_t seed; /* hash of its name: the same in every process */
  char name[64]; /* "host:port", cut when longer */
  uint32_t weight; /* as configured */
  uint32_t effective; /* weight * 1000, less during a slow start */
  uint32_t connections; /* client connections bound to it (forward = "connection", or load balanced), in all workers */
  uint32_t inflight; /* requests waiting for it, in all workers */
  uint32_t id; /* stable as long as the process lives */
  uint8_t up; /* 1: healthy */
  uint8_t usable; /* 1: may be answered: up and not draining */
  uint8_t reserved[2];
} pt_backend_view;

/* All of them. One per listener and worker. */
typedef struct pt_backends_view {
  uint64_t generation;
  uint32_t n;
  uint32_t usable; /* how many may be answered */
  const pt_backend_view *at; /* [n] */
} pt_backends_view;
