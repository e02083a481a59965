/* Hopping over BSON by lengths, never out of bounds, without recursion: where libbson's iterator is too slow or too trusting. For the files of wire/. */
#ifndef PT_WIRE_BSON_HOP_H
#define PT_WIRE_BSON_HOP_H

#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
  PT_BSON_MIN = 5, /* the empty document */
  PT_BSON_DOUBLE = 0x01,
  PT_BSON_STRING = 0x02,
  PT_BSON_DOCUMENT = 0x03,
  PT_BSON_ARRAY = 0x04,
  PT_BSON_BINARY = 0x05,
  PT_BSON_UNDEFINED = 0x06,
  PT_BSON_OID = 0x07,
  PT_BSON_BOOL = 0x08,
  PT_BSON_DATE = 0x09,
  PT_BSON_NULL = 0x0a,
  PT_BSON_REGEX = 0x0b,
  PT_BSON_DBPOINTER = 0x0c,
  PT_BSON_CODE = 0x0d,
  PT_BSON_SYMBOL = 0x0e,
  PT_BSON_CODE_SCOPE = 0x0f,
  PT_BSON_INT32 = 0x10,
  PT_BSON_TIMESTAMP = 0x11,
  PT_BSON_INT64 = 0x12,
  PT_BSON_DECIMAL = 0x13,
  PT_BSON_MAXKEY = 0x7f,
  PT_BSON_MINKEY = 0xff
};

static inline uint32_t pt_le32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, sizeof v);
  return le32toh(v);
}
static inline uint64_t pt_le64(const uint8_t *p) {
  uint64_t v;
  memcpy(&v, p, sizeof v);
  return le64toh(v);
}
static inline void pt_put32(uint8_t *p, uint32_t v) {
  v = htole32(v);
  memcpy(p, &v, sizeof v);
}

static inline int pt_refuse(const char **why, const char *text) {
  *why = text;
  return -EPROTO;
}

/* What lies behind the NUL of the string at p + at; 0: it does not end before end. Keys are short: eight bytes at a time beat a call. */
static inline size_t pt_bson_cstring(const uint8_t *p, size_t at, size_t end) {
  for (; at + 8 <= end; at += 8) {
    uint64_t v = pt_le64(p + at), zero = (v - 0x0101010101010101u) & ~v & 0x8080808080808080u;
    if (zero)
      return at + (unsigned)__builtin_ctzll(zero) / 8 + 1;
  }
  for (; at < end; at++)
    if (!p[at])
      return at + 1;
  return 0;
}

/* Bytes of a value of that type at p, -1: no such type, or not within left bytes. Documents are hopped over, not looked into. */
static inline int64_t pt_bson_value(uint8_t type, const uint8_t *p, size_t left) {
  uint64_t len;
  switch (type) {
  case PT_BSON_UNDEFINED:
  case PT_BSON_NULL:
  case PT_BSON_MAXKEY:
  case PT_BSON_MINKEY:
    return 0;
  case PT_BSON_BOOL:
    len = 1;
    break;
  case PT_BSON_INT32:
    len = 4;
    break;
  case PT_BSON_DOUBLE:
  case PT_BSON_DATE:
  case PT_BSON_TIMESTAMP:
  case PT_BSON_INT64:
    len = 8;
    break;
  case PT_BSON_OID:
    len = 12;
    break;
  case PT_BSON_DECIMAL:
    len = 16;
    break;
  case PT_BSON_BINARY:
    len = left < 5 ? left + 1 : 5 + (uint64_t)pt_le32(p);
    break;
  case PT_BSON_STRING:
  case PT_BSON_CODE:
  case PT_BSON_SYMBOL:
  case PT_BSON_DBPOINTER:
    len = left < 5 ? left + 1 : 4 + (uint64_t)pt_le32(p);
    if (len < 5 || len > left || p[len - 1])
      return -1;
    len += type == PT_BSON_DBPOINTER ? 12 : 0;
    break;
  case PT_BSON_DOCUMENT:
  case PT_BSON_ARRAY:
  case PT_BSON_CODE_SCOPE:
    len = left < PT_BSON_MIN ? 0 : pt_le32(p);
    if (len < PT_BSON_MIN || len > left || p[len - 1])
      return -1;
    break;
  case PT_BSON_REGEX:
    len = pt_bson_cstring(p, 0, left);
    len = len ? pt_bson_cstring(p, len, left) : 0;
    return len ? (int64_t)len : -1;
  default:
    return -1;
  }
  return len <= left ? (int64_t)len : -1;
}

/* One level of a document, element by element. */
typedef struct pt_hop {
  const uint8_t *p; /* what offsets count from */
  size_t at, end; /* the next element; the document's last byte */
  uint8_t type;
  const char *key;
  uint32_t key_len;
  const uint8_t *value;
  uint32_t value_len;
} pt_hop;

/* Over the document of len bytes at p + at, which has been found whole. */
static inline pt_hop pt_hop_over(const uint8_t *p, size_t at, size_t len) {
  return (pt_hop){.p = p, .at = at + 4, .end = at + len - 1};
}

/* 1: an element, 0: no more, -EPROTO. */
static inline int pt_hop_next(pt_hop *h) {
  if (h->at >= h->end)
    return 0;
  size_t value = pt_bson_cstring(h->p, h->at + 1, h->end);
  int64_t len = value ? pt_bson_value(h->p[h->at], h->p + value, h->end - value) : -1;
  if (len < 0)
    return -EPROTO;
  h->type = h->p[h->at];
  h->key = (const char *)h->p + h->at + 1;
  h->key_len = (uint32_t)(value - h->at - 2);
  h->value = h->p + value;
  h->value_len = (uint32_t)len;
  h->at = value + (size_t)len;
  return 1;
}

/* 1 when the key of this element is the literal. */
#define PT_HOP_IS(h, literal) ((h)->key_len == sizeof(literal) - 1 && !memcmp((h)->key, literal, sizeof(literal) - 1))

#endif
