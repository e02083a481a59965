#include "base/crc16.h"

#include <string.h>

#include "base/crc16_table.h"

uint16_t pt_crc16(const uint8_t *p, size_t n) {
  uint16_t c = 0;
  for (; n >= 8; n -= 8, p += 8)
    c = crc_table[7][p[0] ^ (c >> 8)] ^ crc_table[6][p[1] ^ (c & 0xff)] ^ crc_table[5][p[2]] ^ crc_table[4][p[3]] ^
        crc_table[3][p[4]] ^ crc_table[2][p[5]] ^ crc_table[1][p[6]] ^ crc_table[0][p[7]];
  while (n--)
    c = (uint16_t)(c << 8) ^ crc_table[0][(c >> 8) ^ *p++];
  return c;
}

uint16_t pt_key_slot(const uint8_t *key, size_t n) {
  const uint8_t *open = memchr(key, '{', n);
  if (open) {
    const uint8_t *tag = open + 1, *close = memchr(tag, '}', n - (size_t)(tag - key));
    if (close && close > tag)
      return pt_crc16(tag, (size_t)(close - tag)) & (PT_SLOTS - 1);
  }
  return pt_crc16(key, n) & (PT_SLOTS - 1);
}
