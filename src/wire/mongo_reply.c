#include "wire/mongo_reply.h"

#include "wire/bson_hop.h"

/* What comes next in the message. */
enum {
  HEADER, /* of the message */
  FLAGS, /* of OP_MSG */
  FIELDS, /* of OP_REPLY, before its documents */
  SECTION, /* its kind, or the end */
  SEQUENCE, /* the size of a section of kind 1 */
  DOCUMENT, /* the length of a document that is looked into */
  ELEMENT, /* its type, or the end of the document */
  KEY, /* the rest of a key that came in pieces */
  VALUE,
  REGEX, /* the first of two strings */
  OPTIONS, /* the second */
  END
};

/* Which field a value belongs to. */
enum {
  OTHER,
  OK,
  CODE,
  CURSOR,
  CURSOR_ID
};

/* What a step tells instead of how many bytes it has consumed. Steps that need bytes together consume none before they are there. */
enum {
  BAD = -1,
  WAIT = -2
};

static uint32_t body_end(const pt_mongo_scan *s) { return s->h.length - (s->flags & PT_MSG_CHECKSUM ? 4 : 0); }

/* Bytes left for what is inside the innermost document (its last byte not counted), or the body. */
static uint32_t room(const pt_mongo_scan *s) { return (s->level ? s->ends[s->level - 1] - 1 : body_end(s)) - s->seen; }

static int on_header(pt_mongo_scan *s, const uint8_t *p, size_t n, uint32_t max) {
  const char *why;
  if (n < PT_MONGO_HEADER)
    return WAIT;
  if (pt_mongo_header_read(&s->h, p, max, &why))
    return BAD;
  switch (s->h.opcode) {
  case PT_OP_MSG:
    s->state = FLAGS;
    break;
  case PT_OP_REPLY:
    s->state = FIELDS;
    break;
  case PT_OP_COMPRESSED:
    s->skip = s->h.length - PT_MONGO_HEADER;
    s->state = END;
    break;
  default:
    return BAD;
  }
  return PT_MONGO_HEADER;
}

static int on_flags(pt_mongo_scan *s, const uint8_t *p, size_t n) {
  if (n < 4)
    return WAIT;
  uint32_t flags = pt_le32(p);
  if (flags & 0xffff & ~(uint32_t)(PT_MSG_CHECKSUM | PT_MSG_MORE))
    return BAD;
  s->flags = flags & (PT_MSG_CHECKSUM | PT_MSG_MORE | PT_MSG_EXHAUST);
  s->state = SECTION;
  return 4;
}

static int on_fields(pt_mongo_scan *s, size_t n) {
  if (n < 20)
    return WAIT;
  s->state = s->h.length == PT_MONGO_HEADER + 20 ? END : DOCUMENT;
  return 20;
}

static int on_section(pt_mongo_scan *s, const uint8_t *p, size_t n) {
  uint32_t left = room(s);
  if (!left) {
    s->skip = s->h.length - s->seen;
    s->state = END;
    return 0;
  }
  if (!n)
    return WAIT;
  if (*p > 1 || left < 1 + PT_BSON_MIN)
    return BAD;
  s->state = *p ? SEQUENCE : DOCUMENT;
  return 1;
}

static int on_sequence(pt_mongo_scan *s, const uint8_t *p, size_t n) {
  if (n < 4)
    return WAIT;
  uint32_t size = pt_le32(p);
  if (size < PT_BSON_MIN || size > room(s))
    return BAD;
  s->skip = size;
  s->state = SECTION;
  return 0;
}

static int on_document(pt_mongo_scan *s, const uint8_t *p, size_t n) {
  if (room(s) < PT_BSON_MIN)
    return BAD;
  if (n < 4)
    return WAIT;
  uint32_t len = pt_le32(p);
  if (len < PT_BSON_MIN || len > room(s))
    return BAD;
  s->ends[s->level++] = s->seen + len;
  s->state = ELEMENT;
  return 4;
}

static void on_key(pt_mongo_scan *s, const char *key, size_t n) {
  s->field = OTHER;
  s->state = VALUE;
  if (s->level == 2)
    s->field = n == 2 && !memcmp(key, "id", 2) ? CURSOR_ID : OTHER;
  else if (n == 2 && !memcmp(key, "ok", 2))
    s->field = OK;
  else if (n == 4 && !memcmp(key, "code", 4))
    s->field = CODE;
  else if (n == 6 && !memcmp(key, "cursor", 6))
    s->field = CURSOR;
}

/* The last byte of a document. */
static int on_document_end(pt_mongo_scan *s) {
  if (room(s))
    return BAD;
  if (--s->level)
    return 1;
  if (s->h.opcode == PT_OP_MSG) {
    s->state = SECTION;
  } else {
    s->skip = s->h.length - s->seen - 1;
    s->state = END;
  }
  return 1;
}

/* More of a key: n bytes at p, at most room. */
static int take_key(pt_mongo_scan *s, const uint8_t *p, size_t n) {
  uint32_t left = room(s);
  size_t end = pt_bson_cstring(p, 0, n < left ? n : left), len = end ? end - 1 : n;
  if (!end && n >= left)
    return BAD;
  size_t fits = len < sizeof s->key - s->nkey ? len : sizeof s->key - s->nkey;
  memcpy(s->key + s->nkey, p, fits);
  s->nkey += (uint8_t)fits;
  if (end)
    on_key(s, s->key, s->nkey);
  return (int)(end ? end : n);
}

/* Most values do not matter and are here whole. Bytes passed; 0: by the slow way. */
static uint32_t hop_at_once(pt_mongo_scan *s, const uint8_t *p, size_t n) {
  int64_t len = s->field == OTHER ? pt_bson_value(s->type, p, n) : -1;
  if (len < 0)
    return 0;
  s->state = ELEMENT;
  return (uint32_t)len;
}

static int on_element(pt_mongo_scan *s, const uint8_t *p, size_t n) {
  if (!n)
    return WAIT;
  if (!*p)
    return on_document_end(s);
  uint32_t left = room(s);
  size_t end = pt_bson_cstring(p, 1, n < left ? n : left);
  s->type = *p;
  if (end) {
    on_key(s, (const char *)p + 1, end - 2);
    return (int)(end + hop_at_once(s, p + end, (n < left ? n : left) - end));
  }
  if (n >= left)
    return BAD;
  s->nkey = 0;
  s->state = KEY;
  return 1;
}

/* One of the two strings of a regular expression; they are passed as they come. */
static int on_cstring(pt_mongo_scan *s, const uint8_t *p, size_t n) {
  uint32_t left = room(s);
  size_t end = pt_bson_cstring(p, 0, n < left ? n : left);
  if (!end)
    return n >= left ? BAD : n ? (int)n : WAIT;
  s->state = s->state == REGEX ? OPTIONS : ELEMENT;
  return (int)end;
}

static double number(uint8_t type, const uint8_t *p) {
  uint64_t bits;
  double d;
  switch (type) {
  case PT_BSON_DOUBLE:
    bits = pt_le64(p);
    memcpy(&d, &bits, sizeof d);
    return d;
  case PT_BSON_INT64:
    return (double)(int64_t)pt_le64(p);
  case PT_BSON_INT32:
    return (int32_t)pt_le32(p);
  default:
    return *p;
  }
}

/* A number or boolean of a field that matters. */
static void keep(pt_mongo_scan *s, const uint8_t *p) {
  double v = number(s->type, p);
  if (s->field == OK) {
    s->has_ok = true;
    s->ok = v != 0;
  } else if (s->field == CODE) {
    s->code = v > INT32_MIN && v < INT32_MAX ? (int32_t)v : 0;
  } else if (s->field == CURSOR_ID && s->type == PT_BSON_INT64 && !s->has_cursor) {
    s->has_cursor = true;
    s->cursor = (int64_t)pt_le64(p);
  }
}

static int on_fixed(pt_mongo_scan *s, const uint8_t *p, size_t n, uint32_t size) {
  if (size > room(s))
    return BAD;
  bool wanted = s->field != OTHER &&
                (s->type == PT_BSON_DOUBLE || s->type == PT_BSON_INT32 || s->type == PT_BSON_INT64 || s->type == PT_BSON_BOOL);
  if (wanted && n < size)
    return WAIT;
  if (wanted)
    keep(s, p);
  else
    s->skip = size;
  s->state = ELEMENT;
  return wanted ? (int)size : 0;
}

/* A value that starts with its length, extra bytes around it not counted. */
static int on_sized(pt_mongo_scan *s, const uint8_t *p, size_t n, uint32_t extra, uint32_t min) {
  if (room(s) < 4)
    return BAD;
  if (n < 4)
    return WAIT;
  uint32_t len = pt_le32(p);
  if (len < min || (uint64_t)len + extra > room(s))
    return BAD;
  s->skip = len + extra;
  s->state = ELEMENT;
  return 0;
}

static int on_value(pt_mongo_scan *s, const uint8_t *p, size_t n) {
  switch (s->type) {
  case PT_BSON_DOCUMENT:
    if (s->field == CURSOR) {
      s->state = DOCUMENT;
      return 0;
    }
    /* fallthrough */
  case PT_BSON_ARRAY:
  case PT_BSON_CODE_SCOPE:
    return on_sized(s, p, n, 0, PT_BSON_MIN);
  case PT_BSON_STRING:
  case PT_BSON_CODE:
  case PT_BSON_SYMBOL:
    return on_sized(s, p, n, 4, 1);
  case PT_BSON_DBPOINTER:
    return on_sized(s, p, n, 4 + 12, 1);
  case PT_BSON_BINARY:
    return on_sized(s, p, n, 4 + 1, 0);
  case PT_BSON_REGEX:
    s->state = REGEX;
    return 0;
  case PT_BSON_UNDEFINED:
  case PT_BSON_NULL:
  case PT_BSON_MINKEY:
  case PT_BSON_MAXKEY:
    return on_fixed(s, p, n, 0);
  case PT_BSON_BOOL:
    return on_fixed(s, p, n, 1);
  case PT_BSON_INT32:
    return on_fixed(s, p, n, 4);
  case PT_BSON_DOUBLE:
  case PT_BSON_DATE:
  case PT_BSON_TIMESTAMP:
  case PT_BSON_INT64:
    return on_fixed(s, p, n, 8);
  case PT_BSON_OID:
    return on_fixed(s, p, n, 12);
  case PT_BSON_DECIMAL:
    return on_fixed(s, p, n, 16);
  default:
    return BAD;
  }
}

static int step(pt_mongo_scan *s, const uint8_t *p, size_t n, uint32_t max) {
  switch (s->state) {
  case HEADER:
    return on_header(s, p, n, max);
  case FLAGS:
    return on_flags(s, p, n);
  case FIELDS:
    return on_fields(s, n);
  case SECTION:
    return on_section(s, p, n);
  case SEQUENCE:
    return on_sequence(s, p, n);
  case DOCUMENT:
    return on_document(s, p, n);
  case ELEMENT:
    return on_element(s, p, n);
  case KEY:
    return n ? take_key(s, p, n) : WAIT;
  case VALUE:
    return on_value(s, p, n);
  default:
    return on_cstring(s, p, n);
  }
}

pt_scan_result pt_mongo_scan_feed(pt_mongo_scan *s, uint8_t *p, size_t n, uint32_t max, size_t *used, uint8_t **at) {
  size_t i = 0;
  for (;;) {
    uint32_t pass = s->skip < n - i ? s->skip : (uint32_t)(n - i);
    s->skip -= pass;
    s->seen += pass;
    *used = i += pass;
    if (s->skip)
      return PT_SCAN_MORE;
    if (s->state == END) {
      s->whole = true;
      return PT_SCAN_END;
    }
    bool had_cursor = s->has_cursor;
    int k = step(s, p + i, n - i, max);
    if (k < 0)
      return k == WAIT ? PT_SCAN_MORE : PT_SCAN_BAD;
    i += (size_t)k;
    s->seen += (uint32_t)k;
    if (s->has_cursor != had_cursor) {
      *used = i;
      *at = p + i - 8;
      return PT_SCAN_CURSOR;
    }
  }
}
