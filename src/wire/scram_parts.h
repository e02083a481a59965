/* What the two ends of SCRAM share; for scram*.c only. Pure functions. */
#ifndef PT_WIRE_SCRAM_PARTS_H
#define PT_WIRE_SCRAM_PARTS_H

#include "wire/scram.h"

enum {
  PT_SCRAM_NONCE_BYTES = 24, /* random bytes in a nonce; 32 characters */
  PT_SCRAM_PART = 512 /* the longest of the messages that AuthMessage is made of, its end excluded */
};

typedef struct pt_scram_text {
  const char *p, *end;
} pt_scram_text;

static inline size_t pt_scram_length(pt_scram_text t) { return (size_t)(t.end - t.p); }

/* Takes "name=value" and the comma after it from the front of t. 0 or -EPROTO: the next attribute is another one. */
int pt_scram_take(pt_scram_text *t, char name, pt_scram_text *value);
/* 1: printable ASCII, as a nonce has to be (it has no comma any more), and not empty. */
int pt_scram_nonce_good(pt_scram_text nonce);
/* An iteration count in decimal, inside the limits. 0: it is not. */
unsigned pt_scram_iterations(pt_scram_text t);
/* A user name with "," and "=" as =2C and =3D. 0 or -EINVAL: empty or too long. */
int pt_scram_escape(const char *user, char *out, size_t cap);
/* The reverse. 0 or -EPROTO: also when it is not UTF-8. */
int pt_scram_unescape(pt_scram_text name, char *user, size_t cap);

/* Sets iterations and salt_n as MongoDB has them for v->algorithm, each where it is 0. */
void pt_scram_defaults(pt_scram_verifier *v);
/* SaltedPassword. 0, -ENOMEM, -EINVAL: no valid password. */
int pt_scram_salted(int algorithm, const char *user, const char *password, const uint8_t *salt, size_t salt_n,
                    unsigned iterations, uint8_t *out);
/* ClientKey, StoredKey, ServerKey of a salted password. 0 or -ENOMEM. */
int pt_scram_keys(int algorithm, const uint8_t *salted, uint8_t *client_key, uint8_t *stored_key, uint8_t *server_key);
/* ClientSignature and ServerSignature over AuthMessage: the client's first message without its GS2 header, the server's first, the client's
 * final without its proof. 0, -ENOMEM, -EPROTO: a message is too long. */
int pt_scram_sign(int algorithm, const uint8_t *stored_key, const uint8_t *server_key, const pt_scram_text messages[3],
                  uint8_t *client_signature, uint8_t *server_signature);

#endif
