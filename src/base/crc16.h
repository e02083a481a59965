/* CRC16-XMODEM and Redis Cluster hash slots. Pure, any thread.
 * Source: Redis Cluster specification, "Hash slots" and "Hash tags". */
#ifndef PT_BASE_CRC16_H
#define PT_BASE_CRC16_H

#include <stddef.h>
#include <stdint.h>

enum {
  PT_SLOTS = 16384
};

/* CRC16-XMODEM of n bytes, eight bytes a step (slice-by-8). */
uint16_t pt_crc16(const uint8_t *p, size_t n);

/* The slot 0..16383 of a key: of the first non-empty {...} when there is one, else of the whole key. */
uint16_t pt_key_slot(const uint8_t *key, size_t n);

#endif
