/* The hello command and its answer, as far as a proxy lives by them. Pure functions.
 * Source: specifications/source/mongodb-handshake/handshake.md, source/load-balancers/load-balancers.md. */
#ifndef PT_WIRE_MONGO_HELLO_H
#define PT_WIRE_MONGO_HELLO_H

#include "wire/mongo.h"

enum {
  PT_HELLO_APP = 129, /* application.name: at most 128 bytes */
  PT_HELLO_TEXT = 65
};

/* What a client says in its hello. Strings are cut and NUL-terminated; "" when absent. */
typedef struct pt_client_hello {
  bool has_client; /* a client document was there */
  bool load_balanced, hello_ok, backpressure, speculative;
  bool awaitable; /* topologyVersion and maxAwaitTimeMS are there */
  bool half_awaitable; /* only one of them: error 51760 */
  uint8_t tv_process[12]; /* topologyVersion.processId */
  int64_t tv_counter;
  int64_t max_await_ms;
  bool legacy; /* isMaster: answer with "ismaster" */
  uint8_t compressors; /* bits 1 << id of those offered that exist: 0 noop, 1 snappy, 2 zlib, 3 zstd */
  uint8_t first_compressor; /* the first of its list that exists, 0: none */
  char sasl_user[256]; /* saslSupportedMechs: "db.user" */
  char app[PT_HELLO_APP];
  char driver[PT_HELLO_TEXT], driver_version[PT_HELLO_TEXT];
  const uint8_t *client; /* the client document inside the message, NULL: none */
  uint32_t client_len;
} pt_client_hello;

/* Reads a hello's body. 0 or -EPROTO (*why): wrong types, a client document above 512 bytes... what a server would refuse. */
int pt_client_hello_read(pt_client_hello *h, const pt_mongo_message *m, const char **why);

/* The fingerprint of a client, the same for all its connections: SHA-256 over a length-prefixed canonical list: a version tag, the address prefix
 * (ip_n bytes, 0: left out), SNI and certificate digest (when given), application.name, driver.name, driver.version, os.*, platform, env.*;
 * of driver and platform strings only what precedes '|'. Never ports, nonces, compression or what differs between a monitor and a pool. 0 or -ENOMEM. */
int pt_client_fingerprint(const pt_client_hello *h, const uint8_t *ip, unsigned ip_n, const char *sni, const uint8_t *cert,
                          uint8_t out[32]);

/* What a backend says of itself. */
typedef struct pt_server_hello {
  bool ok; /* ok: 1 */
  bool writable; /* ismaster or isWritablePrimary */
  bool isdbgrid;
  bool has_topology_version;
  uint8_t process_id[12];
  int64_t counter;
  int32_t max_bson, max_message, max_batch, min_wire, max_wire;
  int32_t session_minutes; /* -1: no sessions */
  uint8_t compressors;
  char sasl_mechs[128]; /* saslSupportedMechs, blank between them */
  int32_t code; /* of an error */
  char errmsg[128];
} pt_server_hello;

/* Reads an answer's body; absent limits get the protocol's defaults. 0 or -EPROTO. */
int pt_server_hello_read(pt_server_hello *h, const pt_mongo_message *m, const char **why);

/* Replies with serviceId added: writes the whole new message for a reply to hello (OP_MSG or OP_REPLY, whole). out is queued. 0, -ENOMEM, -EPROTO. */
int pt_hello_add_service(pt_segq *out, pt_pool *pool, const uint8_t *reply, size_t n, const uint8_t service_id[12]);

#endif
