/* Handover messages: whatever is read is checked; what is read and written again is the same message. */
#include <stdlib.h>
#include <string.h>

#include "wire/handover.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef union any {
  pt_ho_hello hello;
  pt_ho_text text;
  pt_ho_listener listener;
  pt_ho_backend backend;
  pt_ho_node node;
  pt_ho_totals totals;
  pt_ho_ready ready;
  pt_ho_round round;
  pt_ho_redis redis;
  pt_ho_pair pair;
  pt_ho_request request;
} any;

/* The first byte chooses the kind, so that bodies get past the checksum. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static uint8_t out[PT_HO_MAX];
  const char *why = NULL;
  pt_ho_kind kind;
  any it;
  if (!pt_ho_check(data, size, PT_HO_FORMAT, &kind, &why))
    pt_ho_read(data, size, kind, &it, &why);
  if (!size || !(kind = data[0] % PT_HO_KINDS))
    return 0;
  uint8_t *msg = malloc(PT_HO_HEADER + size - 1); /* its own size: reads beyond it are seen */
  memset(msg, 0, PT_HO_HEADER);
  memcpy(msg + PT_HO_HEADER, data + 1, size - 1);
  why = NULL;
  if (!pt_ho_read(msg, PT_HO_HEADER + size - 1, kind, &it, &why)) {
    int n = pt_ho_write(out, PT_HO_FORMAT, kind, &it);
    pt_ho_kind again;
    if (n != (int)(PT_HO_HEADER + size - 1) || memcmp(out + PT_HO_HEADER, data + 1, size - 1) ||
        pt_ho_check(out, (size_t)n, PT_HO_FORMAT, &again, &why) || again != kind)
      abort();
  } else if (!why) {
    abort();
  }
  free(msg);
  return 0;
}
