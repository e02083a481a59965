/* What a node's error line means for the request it answers. Pure, any thread.
 * Source: Redis Cluster specification, "MOVED Redirection", "ASK Redirection", "Multiple keys operations". */
#ifndef PT_CORE_REDIRECT_H
#define PT_CORE_REDIRECT_H

#include <stddef.h>
#include <stdint.h>

typedef enum pt_redirect {
  PT_REDIRECT_NONE, /* an answer like any other: the client's */
  PT_REDIRECT_MOVED, /* the slot has another owner */
  PT_REDIRECT_ASK, /* this one request belongs to another node */
  PT_REDIRECT_LATER, /* TRYAGAIN: the slot is being split */
  PT_REDIRECT_DOWN, /* CLUSTERDOWN, LOADING, MASTERDOWN, READONLY: not this node now */
} pt_redirect;

typedef struct pt_redirect_target {
  unsigned slot;
  char host[256]; /* "": the node that answered */
  uint16_t port;
} pt_redirect_target;

/* line: a whole error reply "-...\r\n" of n bytes. t is filled for MOVED and ASK; a malformed one is NONE. */
pt_redirect pt_redirect_parse(const uint8_t *line, size_t n, pt_redirect_target *t);

#endif
