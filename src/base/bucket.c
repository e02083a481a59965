#include "base/bucket.h"

uint64_t pt_bucket_wait(pt_bucket *b, unsigned rate, uint64_t now_ns) {
  if (!rate) {
    b->used = 0;
    return 0;
  }
  double size = rate >= 10 ? rate / 10. : 1, passed = now_ns > b->at ? (double)(now_ns - b->at) / 1e9 : 0;
  b->used = b->used > passed * rate ? b->used - passed * rate : 0;
  b->at = now_ns;
  double missing = b->used + 1 - size;
  return missing > 1e-6 ? (uint64_t)(missing / rate * 1e9) + 1 : 0;
}
