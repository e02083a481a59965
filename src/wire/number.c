#include "wire/number.h"

int pt_number(const uint8_t *p, size_t n, int64_t *v) {
  int negative = n && *p == '-';
  p += negative;
  n -= (size_t)negative;
  if (!n || n > 19 || *p < '0' || *p > '9' || (*p == '0' && (n > 1 || negative)))
    return 0;
  uint64_t sum = 0;
  for (size_t i = 0; i < n; i++) {
    if (p[i] < '0' || p[i] > '9')
      return 0;
    sum = sum * 10 + (p[i] - (uint64_t)'0');
  }
  if (sum > (uint64_t)INT64_MAX + (uint64_t)negative)
    return 0;
  *v = negative ? (int64_t)(0 - sum) : (int64_t)sum;
  return 1;
}
