/* How many connections each source has: a table by address prefix. It has an entry for each source that is connected and at most as many again that
 * are not, so its memory is bounded by the number of connections, whatever addresses they come from.
 *
 * One thread owns the table and enters; any thread leaves. An entry lives at least while it has uses. */
#ifndef PT_BASE_SOURCES_H
#define PT_BASE_SOURCES_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

typedef struct pt_sources pt_sources;

typedef struct pt_source {
  struct pt_source *next; /* the owner's */
  uint64_t key[2];
  unsigned bits;
  atomic_uint uses;
} pt_source;

/* seed: a secret of the process, since hostile keys come in. NULL: no memory. */
pt_sources *pt_sources_new(uint64_t seed);
void pt_sources_free(pt_sources *t); /* NULL is allowed */

/* One connection more from a source: its address, cleared behind `bits`. max: so many at most, 0: any number. 0, -EDQUOT: it has max, -ENOMEM. */
int pt_sources_enter(pt_sources *t, const uint8_t ip[16], unsigned bits, unsigned max, pt_source **out);
/* One less. NULL: never entered. */
static inline void pt_source_leave(pt_source *s) {
  if (s)
    atomic_fetch_sub_explicit(&s->uses, 1, memory_order_release);
}
/* Entries now. */
size_t pt_sources_count(const pt_sources *t);

#endif
