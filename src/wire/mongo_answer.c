/* Messages made here. */
#include <stdarg.h>
#include <stdio.h>

#include "wire/bson_hop.h"
#include "wire/mongo.h"

enum {
  HEAD_MAX = 64,
  QUERY_SECONDARY_OK = 4,
  REPLY_AWAIT_CAPABLE = 8,
  ERRMSG_MAX = 512
};

/* Queues head (whose first 16 bytes are left for the header) and the document as one message. */
static int queue(pt_segq *out, pt_pool *pool, pt_mongo_header h, uint8_t *head, size_t head_n, const bson_t *doc) {
  uint8_t small[PT_COPY_MAX];
  const uint8_t *body = bson_get_data(doc);
  h.length = (uint32_t)head_n + doc->len;
  pt_mongo_header_write(&h, head);
  if (h.length <= sizeof small) {
    memcpy(small, head, head_n);
    memcpy(small + head_n, body, doc->len);
    return pt_segq_copy(out, pool, small, h.length, PT_CHUNK_SMALL);
  }
  pt_chunk *c = pt_chunk_new(pool, h.length);
  if (!c)
    return -ENOMEM;
  memcpy(c->data, head, head_n);
  memcpy(c->data + head_n, body, doc->len);
  c->fill = h.length;
  int e = pt_segq_ref(out, c, 0, c->fill);
  pt_chunk_unref(c);
  return e;
}

static int queue_msg(pt_segq *out, pt_pool *pool, pt_mongo_header h, uint32_t flags, const bson_t *doc) {
  uint8_t head[HEAD_MAX] = {0};
  h.opcode = PT_OP_MSG;
  pt_put32(head + PT_MONGO_HEADER, flags & ~(uint32_t)PT_MSG_CHECKSUM);
  return queue(out, pool, h, head, PT_MONGO_HEADER + 5, doc); /* the section's kind is 0 */
}

int pt_mongo_answer(pt_segq *out, pt_pool *pool, int request_opcode, int32_t request_id, int32_t response_to, uint32_t flags,
                    const bson_t *doc) {
  pt_mongo_header h = {.request_id = request_id, .response_to = response_to, .opcode = PT_OP_REPLY};
  uint8_t head[HEAD_MAX] = {0};
  if (request_opcode != PT_OP_QUERY)
    return queue_msg(out, pool, h, flags, doc);
  pt_put32(head + 16, REPLY_AWAIT_CAPABLE);
  pt_put32(head + 32, 1); /* no cursor, from 0, one document */
  return queue(out, pool, h, head, 36, doc);
}

int pt_mongo_command_write(pt_segq *out, pt_pool *pool, int opcode, int32_t request_id, const bson_t *doc) {
  static const char ns[] = "admin.$cmd";
  pt_mongo_header h = {.request_id = request_id, .opcode = PT_OP_QUERY};
  uint8_t head[HEAD_MAX] = {0};
  if (opcode != PT_OP_QUERY)
    return queue_msg(out, pool, h, 0, doc);
  pt_put32(head + 16, QUERY_SECONDARY_OK);
  memcpy(head + 20, ns, sizeof ns);
  pt_put32(head + 20 + sizeof ns + 4, (uint32_t)-1); /* skip 0, return one and close */
  return queue(out, pool, h, head, 20 + sizeof ns + 8, doc);
}

static void append_labels(bson_t *doc, unsigned labels) {
  static const struct {
    unsigned bit;
    const char *text;
  } names[] = {
      {PT_LABEL_RETRYABLE_WRITE, "RetryableWriteError"},
      {PT_LABEL_TRANSIENT, "TransientTransactionError"},
      {PT_LABEL_OVERLOADED, "SystemOverloadedError"},
      {PT_LABEL_OVERLOADED, "RetryableError"},
  };
  bson_t list;
  bson_append_array_begin(doc, "errorLabels", -1, &list);
  for (unsigned i = 0, n = 0; i < sizeof names / sizeof *names; i++) {
    char key[2] = {(char)('0' + n), 0};
    if (labels & names[i].bit) {
      bson_append_utf8(&list, key, -1, names[i].text, -1);
      n++;
    }
  }
  bson_append_array_end(doc, &list);
}

void pt_mongo_error(bson_t *doc, int code, const char *code_name, unsigned labels, const char *fmt, ...) {
  char text[ERRMSG_MAX];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  /* Names of others may be in it, or half a character at its end; drivers refuse what is no UTF-8. */
  if (!bson_utf8_validate(text, strlen(text), false))
    for (char *c = text; *c; c++)
      if (*c & 0x80)
        *c = '?';
  bson_append_double(doc, "ok", -1, 0);
  bson_append_utf8(doc, "errmsg", -1, text, -1);
  bson_append_int32(doc, "code", -1, code);
  bson_append_utf8(doc, "codeName", -1, code_name, -1);
  if (labels)
    append_labels(doc, labels);
}
