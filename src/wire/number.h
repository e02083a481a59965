/* Decimal numbers and header lines ("$5\r\n") as RESP has them. Pure, any thread. */
#ifndef PT_WIRE_NUMBER_H
#define PT_WIRE_NUMBER_H

#include <stddef.h>
#include <stdint.h>

/* Reads all of p[0..n) as strictly as Redis' string2ll: no '+', no leading zero, no space, no overflow. 1 when it is a number. */
int pt_number(const uint8_t *p, size_t n, int64_t *v);

/* The number behind the type byte at p, when it has 1 to 9 digits and its CRLF is there: returns what follows the line.
 * NULL: anything else; look closer. Hot. */
static inline const uint8_t *pt_header(const uint8_t *p, const uint8_t *end, uint32_t *v) {
  if (end - p < 4)
    return NULL;
  uint32_t sum = p[1] - (uint32_t)'0', digit;
  if (sum > 9)
    return NULL;
  const uint8_t *q = p + 2, *stop = end - p > 11 ? p + 10 : end - 1;
  if (*q != '\r') {
    if (!sum)
      return NULL;
    while (q < stop && (digit = *q - (uint32_t)'0') <= 9) {
      sum = sum * 10 + digit;
      q++;
    }
    if (q >= end - 1 || *q != '\r')
      return NULL;
  }
  if (q[1] != '\n')
    return NULL;
  *v = sum;
  return q + 2;
}

#endif
