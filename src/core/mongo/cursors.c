/* Cursor ids: clients see ids of our own, so that two backends' equal ids do no harm. */
#include <endian.h>
#include <string.h>

#include "core/mongo/exchange.h"

static void put64(uint8_t *p, int64_t v) {
  uint64_t u = htole64((uint64_t)v);
  memcpy(p, &u, sizeof u);
}

static int64_t get64(const uint8_t *p) {
  uint64_t u;
  memcpy(&u, p, sizeof u);
  return (int64_t)le64toh(u);
}

bool pt_cursor_route(pt_exchange *x, uint8_t *p, const pt_mongo_message *msg, const pt_mongo_command *cmd) {
  pt_session s;
  if (!pt_sessions_find(pt_exchange_mongo(x)->shared->sessions, PT_SESSION_CURSOR, pt_cursor_key(cmd->cursor), pt_exchange_ms(x),
                        &s))
    return false;
  put64(p + msg->body_at + cmd->cursor_at, s.value);
  pt_mongo_seal(p, msg->h.length);
  x->backend = s.backend;
  x->cursor = cmd->cursor;
  return true;
}

bool pt_cursor_reply(pt_exchange *x, uint8_t *at) {
  pt_sessions *t = pt_exchange_mongo(x)->shared->sessions;
  int64_t id = get64(at);
  if (!id) {
    if (x->cursor)
      pt_sessions_cursor_close(t, x->cursor, pt_exchange_ms(x));
    x->cursor = 0;
    return false;
  }
  if (!x->cursor) {
    pt_session_key owner = {0, 0};
    if (x->cmd.lsid)
      owner = pt_place_lsid(pt_exchange_mongo(x), x->cmd.lsid);
    x->cursor = pt_sessions_cursor_open(t, pt_exchange_ms(x), x->backend, id, owner);
  }
  put64(at, x->cursor ? x->cursor : INT64_MAX); /* no memory: an id that will not be found */
  return true;
}
