/* Replies on their way to whoever asked: a client (in the order of its requests), a part of a fan, or a retry object. Worker's thread. */
#ifndef PT_CORE_REPLY_H
#define PT_CORE_REPLY_H

#include "core/worker.h"

/* Bytes of the reply to who, by reference; last: the reply ends with them. Owners that have gone are ignored. */
void pt_reply_to(pt_worker *w, pt_owner who, pt_chunk *chunk, uint32_t off, uint32_t len, bool last);

/* A whole reply that lies in no chunk. */
void pt_reply_bytes(pt_worker *w, pt_owner who, const void *resp, size_t len);

/* An error reply: text without "-" and CRLF, cut at 490 bytes, with the code of e behind it if that is shown; line breaks in it become spaces.
 * Counted and logged: told.h. */
void pt_reply_error(pt_worker *w, pt_owner who, pt_error e, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* The reply to who broke off in its middle: what a client already has cannot be taken back, so its connection ends. */
void pt_reply_broken(pt_worker *w, pt_owner who, pt_error e, const char *reason);

/* Adds a piece by reference. 0 or -ENOMEM. */
int pt_kept_add(pt_kept *k, pt_chunk *chunk, uint32_t off, uint32_t len);
void pt_kept_clear(pt_kept *k);
static inline unsigned pt_kept_pieces(const pt_kept *k) { return (k->chunk != NULL) + (k->more ? k->more->n : 0); }
static inline pt_seg pt_kept_piece(const pt_kept *k, unsigned i) {
  return i == 0 ? (pt_seg){k->chunk, k->off, k->len} : *pt_segq_at(k->more, i - 1);
}

#endif
