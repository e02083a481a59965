/* CRC-32C (Castagnoli), reflected, as in RFC 3720. */
#include "wire/bson_hop.h"
#include "wire/mongo.h"

/* Four bits at a time: for processors without the instruction. */
static uint32_t crc_plain(uint32_t crc, const uint8_t *p, size_t n) {
  static const uint32_t table[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
                                     0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                     0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
  for (; n; n--) {
    crc ^= *p++;
    crc = crc >> 4 ^ table[crc & 15];
    crc = crc >> 4 ^ table[crc & 15];
  }
  return crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t crc_sse42(uint32_t crc, const uint8_t *p, size_t n) {
  for (; n >= 8; n -= 8, p += 8)
    crc = (uint32_t)__builtin_ia32_crc32di(crc, pt_le64(p));
  for (; n; n--)
    crc = __builtin_ia32_crc32qi(crc, *p++);
  return crc;
}
#endif

uint32_t pt_crc32c(const uint8_t *p, size_t n) {
#ifdef __x86_64__
  if (__builtin_cpu_supports("sse4.2"))
    return ~crc_sse42(~0u, p, n);
#endif
  return ~crc_plain(~0u, p, n);
}

void pt_mongo_seal(uint8_t *p, size_t n) {
  if (n >= PT_MONGO_HEADER + 8 && pt_le32(p) == n && pt_le32(p + 12) == PT_OP_MSG && (pt_le32(p + 16) & PT_MSG_CHECKSUM))
    pt_put32(p + n - 4, pt_crc32c(p, n - 4));
}
