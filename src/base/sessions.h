/* Who is where: a table from identities, logical sessions and cursors to backends, shared by the workers of a listener. Any thread. A key's
 * shard is locked for the moment of a call, never over anything that waits. Bounded: when it is full the least recently used entry that is not
 * in use or in a transaction gives way, then the least recently used at all. An entry nobody uses or touches for the timeout is gone; so are
 * cursors and transactions nobody touches for it. Memory grows with use.
 *
 * It lies in a file in memory, so that during an upgrade two processes, the parties, work on one and the same table. Uses of identities are
 * counted by party, since they are its connections; cursors and transactions belong to the table. A party may be killed in the middle of a call:
 * the next one that comes by repairs the shard, and pt_sessions_abandon sets the rest right.
 */
#ifndef PT_BASE_SESSIONS_H
#define PT_BASE_SESSIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct pt_sessions pt_sessions;

enum {
  PT_SESSION_BACKENDS = 4096 /* stable ids are below it */
};

typedef enum pt_session_kind {
  PT_SESSION_IDENTITY, /* key: what identify() said; uses: its open connections */
  PT_SESSION_LSID, /* key: the 16 bytes of lsid.id, mixed with the user; uses: its open cursors */
  PT_SESSION_CURSOR, /* key: the cursor id clients see; uses: 1 while open */
  PT_SESSION_KINDS
} pt_session_kind;

typedef struct pt_session_key {
  uint64_t a, b;
} pt_session_key;

/* What an entry says; a copy. */
typedef struct pt_session {
  uint32_t backend; /* stable id */
  uint32_t uses; /* of both parties */
  int64_t txn; /* LSID: number of the last transaction, -1: none */
  bool in_txn; /* LSID: it is open */
  int64_t value; /* CURSOR: the backend's own id */
  pt_session_key owner; /* CURSOR: the lsid it belongs to; zeros: none */
} pt_session;

/* max: entries of all kinds; timeout_ms: sliding. NULL: no memory. */
pt_sessions *pt_sessions_new(size_t max, uint64_t timeout_ms);
/* Leaves it: what this party used is given back. The table lives on with the other party, if any. */
void pt_sessions_free(pt_sessions *t);
/* For the other process: the table's file, which stays the table's. -ENOTSUP: there is none, it lies in memory of our own. */
int pt_sessions_fd(const pt_sessions *t);
/* Comes to a table as its other party, with a descriptor of its file (received, or a dup), which is taken over even when this fails; max and
 * timeout stay as they are. -EPROTO: it is no table, not a sound one or of another version; -EBUSY: two are on it already; -ETIMEDOUT:
 * the other one holds a lock and stands still; -ENOMEM. */
int pt_sessions_attach(int fd, pt_sessions **out);
/* The other party is dead or has left without pt_sessions_free (it must not be running): its uses become 0 and its place is free. Nothing
 * happens when there is no other. Reads through the whole table, locked. */
void pt_sessions_abandon(pt_sessions *t);
/* A reload, by either party. What is above a smaller max goes as new entries come. */
void pt_sessions_configure(pt_sessions *t, size_t max, uint64_t timeout_ms);

/* Copies an entry and touches it. false: there is none (any more). now_ms: pt_now_ms(). */
bool pt_sessions_find(pt_sessions *t, pt_session_kind kind, pt_session_key key, uint64_t now_ms, pt_session *out);
/* Finds it, or makes it with backend; of two that claim at once the first wins. out: what holds. uses: added to its uses.
 * 1: it was made, 0: it was there, -ENOMEM, -EINVAL: no such backend, or a cursor. */
int pt_sessions_claim(pt_sessions *t, pt_session_kind kind, pt_session_key key, uint64_t now_ms, uint32_t backend, uint32_t uses,
                      pt_session *out);
/* Its backend has failed or is left: from -> to, unless somebody has moved it already, or (kind LSID, without force) it is in a transaction or
 * has cursors. out: what holds now. false: it is gone. A moved LSID forgets its transaction; a cursor never moves. */
bool pt_sessions_move(pt_sessions *t, pt_session_kind kind, pt_session_key key, uint64_t now_ms, uint32_t from, uint32_t to,
                      bool force, pt_session *out);
/* One use less; at 0 it stays until the timeout. */
void pt_sessions_release(pt_sessions *t, pt_session_kind kind, pt_session_key key, uint64_t now_ms);
/* LSID: the state of its transaction. */
void pt_sessions_txn(pt_sessions *t, pt_session_key key, uint64_t now_ms, int64_t number, bool open);
/* Takes an entry out. */
void pt_sessions_drop(pt_sessions *t, pt_session_kind kind, pt_session_key key);

/* Opens a cursor: a new id for clients, random, unique in this table; the entry holds backend and its own id, and counts as a use of owner's
 * LSID entry when there is one. The id (positive), or 0: no memory. */
int64_t pt_sessions_cursor_open(pt_sessions *t, uint64_t now_ms, uint32_t backend, int64_t value, pt_session_key owner);
/* Closes it: entry and use go. Harmless when it is gone. */
void pt_sessions_cursor_close(pt_sessions *t, int64_t id, uint64_t now_ms);

/* A backend lost everything it had: its cursors go, its sessions' transactions end, uses of its identities stay. */
void pt_sessions_forget_backend(pt_sessions *t, uint32_t backend);
/* Cursors and open transactions of a backend; for draining. */
size_t pt_sessions_pinned(pt_sessions *t, uint32_t backend);

typedef struct pt_sessions_stats {
  size_t entries[PT_SESSION_KINDS];
  uint64_t made, found, expired, evicted, moved;
  uint64_t repaired; /* shards found in the middle of a call of a killed process */
} pt_sessions_stats;
pt_sessions_stats pt_sessions_stat(pt_sessions *t);
/* Counts the entries of each backend and kind into counts[PT_SESSION_BACKENDS], which the caller has zeroed. Looks at all entries, a shard after the
 * other: for people, now and then. */
void pt_sessions_by_backend(pt_sessions *t, uint32_t (*counts)[PT_SESSION_KINDS]);
/* Frees what has timed out, at most a shard a call; called now and then by the control thread. */
void pt_sessions_sweep(pt_sessions *t, uint64_t now_ms);

#endif
