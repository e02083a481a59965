/* What the old process tells the new one in an upgrade, as messages of one SOCK_SEQPACKET datagram each (descriptors ride beside them):
 *
 *   magic "PTHO" | format u16 | kind u16 | length u32 | crc32c u32 | fields
 *
 * Numbers are little endian, blobs a u32 length and the bytes. The order of a handover stands in core/giver.h. Pure functions over bytes; every
 * message is checked: magic, format, length, checksum, each field's bounds, nothing left over.
 */
#ifndef PT_WIRE_HANDOVER_H
#define PT_WIRE_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  PT_HO_FORMAT = 1, /* the newest format this puerta writes */
  PT_HO_OLDEST = 1, /* the oldest it reads */
  PT_HO_HEADER = 16,
  PT_HO_MAX = 96 * 1024, /* of a message */
  PT_HO_INPUT = 64 * 1024, /* of the bytes a client has sent ahead */
  PT_HO_TEXT = 1024 /* of a name or a message for people */
};

typedef enum pt_ho_kind {
  PT_HO_HELLO = 1, /* both: who I am, formats I know */
  PT_HO_REFUSE, /* old: no, and why; or new: I give up, and why */
  PT_HO_LISTENER, /* old: a listening socket; with it the session table of a MongoDB listener */
  PT_HO_BACKEND, /* old: the stable id of a backend */
  PT_HO_NODE, /* old: a node of a cluster, another seed */
  PT_HO_TOTALS, /* old: counters so far */
  PT_HO_END, /* old: that is all before clients */
  PT_HO_READY, /* new: I could serve */
  PT_HO_REDIS, /* old: a Redis client and its socket */
  PT_HO_PAIR, /* old: a MongoDB client of forward = "connection", its socket and its backend's */
  PT_HO_REQUEST, /* old: a MongoDB client of forward = "request" and its socket */
  PT_HO_GO, /* old: all clients sent so far are yours */
  PT_HO_TAKEN, /* new: they are mine */
  PT_HO_KINDS
} pt_ho_kind;

/* Bytes in the message they were read from, or of the caller. */
typedef struct pt_ho_blob {
  const void *at;
  uint32_t n;
} pt_ho_blob;

typedef struct pt_ho_hello {
  uint16_t oldest, newest; /* formats */
  uint32_t pid;
  pt_ho_blob version; /* of puerta */
} pt_ho_hello;

typedef struct pt_ho_text {
  pt_ho_blob text;
} pt_ho_text;

typedef struct pt_ho_listener {
  uint8_t kind; /* pt_listener_kind */
  uint8_t mode; /* MONGODB: forward = "request" */
  uint8_t table; /* bool: a second descriptor is the session table */
  uint16_t port;
  pt_ho_blob name, host; /* of the configuration */
  uint64_t secret; /* MONGODB, as the next two: see pt_mongo_shared */
  uint8_t process_id[12];
  uint32_t view; /* topologyVersion.counter of the last snapshot */
} pt_ho_listener;

typedef struct pt_ho_backend {
  uint32_t listener; /* index of its LISTENER message */
  uint32_t id, epoch;
  pt_ho_blob name;
} pt_ho_backend;

typedef struct pt_ho_node {
  uint32_t listener;
  uint16_t port;
  pt_ho_blob host;
} pt_ho_node;

enum {
  PT_HO_COUNTERS = 32
};

typedef struct pt_ho_totals {
  uint64_t next_id; /* of clients */
  uint32_t upgrades; /* of this line of processes */
  uint64_t counters[PT_HO_COUNTERS]; /* pt_counters, in its order */
} pt_ho_totals;

enum {
  PT_HO_LISTENERS = 256
};

/* Bits by index of LISTENER: whose clients the new process can serve. */
typedef struct pt_ho_ready {
  uint8_t takes[PT_HO_LISTENERS / 8];
} pt_ho_ready;

typedef struct pt_ho_round {
  uint32_t round;
} pt_ho_round;

typedef struct pt_ho_redis {
  uint32_t listener;
  uint64_t id, since; /* since: ns of the monotonic clock, which both processes share */
  uint32_t ip;
  uint16_t port;
  uint8_t proto; /* 2 or 3 */
  uint8_t authed;
  pt_ho_blob user, name; /* n 0: none */
  pt_ho_blob input; /* read and not looked at */
} pt_ho_redis;

/* What both kinds of MongoDB clients have. */
typedef struct pt_ho_mongo {
  uint32_t listener;
  uint64_t id, since, last;
  uint8_t ip[16];
  uint16_t port;
  uint16_t flags; /* PT_MC_... that outlive the move */
  uint64_t identity;
  uint32_t backend; /* stable id */
  pt_ho_blob input;
} pt_ho_mongo;

typedef struct pt_ho_ask {
  int32_t id;
  uint16_t opcode;
  uint8_t verb, flags;
  int64_t cursor;
} pt_ho_ask;

enum {
  PT_HO_ASKS = 16
};

typedef struct pt_ho_pair {
  pt_ho_mongo c;
  uint8_t movable, worked, sealed, compressors;
  uint32_t epoch;
  uint32_t max_wire;
  uint8_t nasks;
  pt_ho_ask asks[PT_HO_ASKS]; /* oldest first */
  pt_ho_blob hello; /* its first message */
  pt_ho_blob cursors, txns; /* pairs of u64: key, last */
} pt_ho_pair;

typedef struct pt_ho_request {
  pt_ho_mongo c;
  uint8_t has_session;
  uint8_t lsid[16];
} pt_ho_request;

/* Writes a message of that kind from its struct (NULL for the kinds that have none) to out of PT_HO_MAX bytes. Its length, or -EMSGSIZE. */
int pt_ho_write(uint8_t *out, uint16_t format, pt_ho_kind kind, const void *from);
/* Checks a message and says its kind: 0, or -EPROTO with the reason in why. */
int pt_ho_check(const uint8_t *msg, size_t n, uint16_t format, pt_ho_kind *kind, const char **why);
/* Reads a checked message of that kind into its struct; blobs point into msg. 0 or -EPROTO. */
int pt_ho_read(const uint8_t *msg, size_t n, pt_ho_kind kind, void *to, const char **why);

#endif
