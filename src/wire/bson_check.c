#include "wire/bson_hop.h"
#include "wire/mongo.h"

int pt_bson_check(const uint8_t *p, size_t n, const char **why) {
  size_t ends[1 + PT_MONGO_MAX_DEPTH], at = 4;
  unsigned depth = 0;
  if (n < PT_BSON_MIN || pt_le32(p) != n)
    return pt_refuse(why, "BSON: a document's length is wrong");
  ends[0] = n;
  for (;;) {
    size_t last = ends[depth] - 1; /* at <= last: every value has ended before it */
    uint8_t type = p[at++];
    if (!type) {
      if (at != ends[depth])
        return pt_refuse(why, "BSON: a document ends too early");
      if (!depth--)
        return 0;
      continue;
    }
    at = pt_bson_cstring(p, at, last);
    if (!at)
      return pt_refuse(why, "BSON: a key does not end");
    int64_t len = pt_bson_value(type, p + at, last - at);
    if (len < 0)
      return pt_refuse(why, "BSON: a value of an unknown type or beyond its document");
    if (type != PT_BSON_DOCUMENT && type != PT_BSON_ARRAY && type != PT_BSON_CODE_SCOPE) {
      at += (size_t)len;
      continue;
    }
    size_t end = at + (size_t)len;
    if (depth == PT_MONGO_MAX_DEPTH)
      return pt_refuse(why, "BSON: nested too deep");
    ends[++depth] = end;
    if (type == PT_BSON_CODE_SCOPE) {
      int64_t code = pt_bson_value(PT_BSON_CODE, p + at + 4, (size_t)len - 4);
      at += 4 + (size_t)code;
      if (code < 0 || end - at < PT_BSON_MIN || pt_le32(p + at) != end - at)
        return pt_refuse(why, "BSON: code with scope is broken");
    }
    at += 4;
  }
}
