#include "wire/mongo.h"

#include <stdio.h>

#include "wire/bson_hop.h"

enum {
  MSG_SECTIONS = PT_MONGO_HEADER + 4, /* where the sections of OP_MSG start */
  QUERY_NS = PT_MONGO_HEADER + 4,
  QUERY_NS_MAX = 256, /* with its NUL */
  REPLY_BODY = PT_MONGO_HEADER + 20,
  SECTION_MIN = 1 + PT_BSON_MIN, /* of both kinds */
  MAX_SEQUENCES = 8, /* sections of kind 1; servers take two. Bounds what is looked at again while a message arrives */
};

static const struct {
  int32_t opcode;
  uint32_t min; /* the shortest message */
  const char *name;
} opcodes[] = {
    {PT_OP_MSG, MSG_SECTIONS + SECTION_MIN, "OP_MSG"},
    {PT_OP_COMPRESSED, PT_MONGO_HEADER + 9, "OP_COMPRESSED"},
    {PT_OP_QUERY, QUERY_NS + 1 + 8 + PT_BSON_MIN, "OP_QUERY"},
    {PT_OP_REPLY, REPLY_BODY, "OP_REPLY"},
    {PT_OP_UPDATE, PT_MONGO_HEADER + 9 + 2 * PT_BSON_MIN, "OP_UPDATE"},
    {PT_OP_INSERT, PT_MONGO_HEADER + 5 + PT_BSON_MIN, "OP_INSERT"},
    {PT_OP_GET_MORE, PT_MONGO_HEADER + 17, "OP_GET_MORE"},
    {PT_OP_DELETE, PT_MONGO_HEADER + 9 + PT_BSON_MIN, "OP_DELETE"},
    {PT_OP_KILL_CURSORS, PT_MONGO_HEADER + 8, "OP_KILL_CURSORS"},
};
enum {
  NOPCODES = sizeof opcodes / sizeof *opcodes
};

const char *pt_mongo_opcode_name(int opcode) {
  static __thread char text[24];
  for (int i = 0; i < NOPCODES; i++)
    if (opcodes[i].opcode == opcode)
      return opcodes[i].name;
  snprintf(text, sizeof text, "opcode %d", opcode);
  return text;
}

int pt_mongo_header_read(pt_mongo_header *h, const uint8_t *p, uint32_t max, const char **why) {
  *h = (pt_mongo_header){pt_le32(p), (int32_t)pt_le32(p + 4), (int32_t)pt_le32(p + 8), (int32_t)pt_le32(p + 12)};
  int i = 0;
  while (i < NOPCODES && opcodes[i].opcode != h->opcode)
    i++;
  if (i == NOPCODES)
    return pt_refuse(why, "unknown opcode");
  if (h->length < opcodes[i].min)
    return pt_refuse(why, "message too short for its opcode");
  if (h->length > max)
    return pt_refuse(why, "message too long");
  return 0;
}

void pt_mongo_header_write(const pt_mongo_header *h, uint8_t *p) {
  pt_put32(p, h->length);
  pt_put32(p + 4, (uint32_t)h->request_id);
  pt_put32(p + 8, (uint32_t)h->response_to);
  pt_put32(p + 12, (uint32_t)h->opcode);
}

static int more(pt_mongo_message *m, size_t need) {
  m->need = need < m->h.length ? (uint32_t)need : m->h.length;
  return PT_MONGO_MORE;
}

/* The body, which starts at and must end by end; its first four bytes are there. */
static int take_body(pt_mongo_message *m, const uint8_t *p, size_t have, uint32_t at, uint32_t end, const char **why) {
  uint32_t len = pt_le32(p + at);
  if (len < PT_BSON_MIN || len > end - at)
    return pt_refuse(why, "the command document is longer than its message");
  if (len > PT_MONGO_MAX_DOCUMENT)
    return pt_refuse(why, "the command document is too large");
  if (have - at < len)
    return more(m, at + len);
  int e = pt_bson_check(p + at, len, why);
  if (e)
    return e;
  m->body = p + at;
  m->body_len = len;
  m->body_at = at;
  return PT_MONGO_OK;
}

/* Documents one behind the other, by their lengths. */
static int check_documents(const uint8_t *p, size_t n, const char **why) {
  while (n) {
    int64_t len = pt_bson_value(PT_BSON_DOCUMENT, p, n);
    if (len < 0)
      return pt_refuse(why, "a document is longer than its section");
    p += len;
    n -= (size_t)len;
  }
  return 0;
}

static int check_sequence(const uint8_t *p, size_t n, const char **why) {
  size_t at = pt_bson_cstring(p, 4, n);
  return at ? check_documents(p + at, n - at, why) : pt_refuse(why, "the name of a document sequence does not end");
}

/* The section of kind 1 at at, of which size is inside the message. PT_MONGO_OK: it is whole and good. */
static int pass_sequence(pt_mongo_message *m, const uint8_t *p, size_t have, uint32_t at, uint32_t end, const char **why) {
  uint32_t size = pt_le32(p + at + 1), next = at + 1 + size;
  if (!m->body && next == end)
    return pt_refuse(why, "no section of kind 0");
  if (have < next)
    return more(m, next + 5);
  int e = check_sequence(p + at + 1, size, why);
  return e ? e : PT_MONGO_OK;
}

static int parse_msg(pt_mongo_message *m, const uint8_t *p, size_t have, const char **why) {
  if (have < MSG_SECTIONS + 5)
    return more(m, MSG_SECTIONS + 5);
  uint32_t flags = pt_le32(p + PT_MONGO_HEADER), at = MSG_SECTIONS, end = m->h.length, sequences = 0;
  if (flags & 0xffff & ~(uint32_t)(PT_MSG_CHECKSUM | PT_MSG_MORE))
    return pt_refuse(why, "unknown required flags");
  m->flags = flags & (PT_MSG_CHECKSUM | PT_MSG_MORE | PT_MSG_EXHAUST);
  if (flags & PT_MSG_CHECKSUM)
    end -= 4;
  while (at < end) {
    if (end - at < SECTION_MIN)
      return pt_refuse(why, "a section is too short");
    if (have < at + 5)
      return m->body ? PT_MONGO_OK : more(m, at + 5);
    uint32_t size = pt_le32(p + at + 1);
    if (size < PT_BSON_MIN || size > end - at - 1)
      return pt_refuse(why, "a section is longer than its message");
    if (p[at] > 1 || (p[at] == 0 && m->body) || (p[at] == 1 && sequences++ == MAX_SEQUENCES))
      return pt_refuse(why, p[at] > 1 ? "unknown kind of section" : p[at] ? "too many sections" : "two sections of kind 0");
    int e = p[at] ? pass_sequence(m, p, have, at, end, why) : take_body(m, p, have, at + 1, end, why);
    if (e != PT_MONGO_OK)
      return e == PT_MONGO_MORE && m->body ? PT_MONGO_OK : e;
    at += 1 + size;
  }
  if (!m->body)
    return pt_refuse(why, "no section of kind 0");
  if ((flags & PT_MSG_CHECKSUM) && have == m->h.length && pt_crc32c(p, end) != pt_le32(p + end))
    return pt_refuse(why, "wrong checksum");
  return PT_MONGO_OK;
}

static int parse_query(pt_mongo_message *m, const uint8_t *p, size_t have, const char **why) {
  size_t ns_end = have < QUERY_NS + QUERY_NS_MAX ? have : QUERY_NS + QUERY_NS_MAX, at = 0;
  if (have >= QUERY_NS + 1)
    at = pt_bson_cstring(p, QUERY_NS, ns_end);
  if (!at && (have == m->h.length || have >= QUERY_NS + QUERY_NS_MAX))
    return pt_refuse(why, "the name in OP_QUERY does not end");
  if (!at)
    return more(m, have < QUERY_NS + 1 + 12 ? QUERY_NS + 1 + 12 : QUERY_NS + QUERY_NS_MAX);
  at += 8;
  if (at + PT_BSON_MIN > m->h.length)
    return pt_refuse(why, "OP_QUERY without a document");
  m->flags = pt_le32(p + PT_MONGO_HEADER);
  m->ns = (const char *)p + QUERY_NS;
  if (have < at + 4)
    return more(m, at + 4);
  int e = take_body(m, p, have, (uint32_t)at, m->h.length, why);
  size_t rest = m->h.length - at - m->body_len;
  if (e != PT_MONGO_OK || have < m->h.length || !rest)
    return e;
  /* The fields to return, which commands have no use for. */
  return pt_bson_value(PT_BSON_DOCUMENT, p + at + m->body_len, rest) == (int64_t)rest
             ? PT_MONGO_OK
             : pt_refuse(why, "OP_QUERY has bytes left over");
}

static int parse_reply(pt_mongo_message *m, const uint8_t *p, size_t have, const char **why) {
  if (have < REPLY_BODY)
    return more(m, REPLY_BODY + 4);
  m->flags = pt_le32(p + PT_MONGO_HEADER);
  if (m->h.length == REPLY_BODY)
    return PT_MONGO_OK;
  if (m->h.length < REPLY_BODY + PT_BSON_MIN)
    return pt_refuse(why, "OP_REPLY with a broken document");
  if (have < REPLY_BODY + 4)
    return more(m, REPLY_BODY + 4);
  int e = take_body(m, p, have, REPLY_BODY, m->h.length, why);
  if (e != PT_MONGO_OK || have < m->h.length)
    return e;
  uint32_t at = REPLY_BODY + m->body_len;
  e = check_documents(p + at, m->h.length - at, why);
  return e ? e : PT_MONGO_OK;
}

int pt_mongo_parse(pt_mongo_message *m, const uint8_t *p, size_t have, uint32_t max, const char **why) {
  memset(m, 0, sizeof *m);
  int e = pt_mongo_header_read(&m->h, p, max, why);
  if (e)
    return e;
  if (have > m->h.length)
    have = m->h.length;
  switch (m->h.opcode) {
  case PT_OP_MSG:
    return parse_msg(m, p, have, why);
  case PT_OP_QUERY:
    return parse_query(m, p, have, why);
  case PT_OP_REPLY:
    return parse_reply(m, p, have, why);
  case PT_OP_COMPRESSED:
    return pt_refuse(why, "OP_COMPRESSED where a plain message is expected");
  default:
    return pt_refuse(why, "legacy opcode");
  }
}
