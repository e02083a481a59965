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
