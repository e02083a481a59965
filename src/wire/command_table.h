/* What the generated table shares with command.c. */
#ifndef PT_WIRE_COMMAND_TABLE_H
#define PT_WIRE_COMMAND_TABLE_H

#include "wire/command.h"

enum {
  PT_COMMAND_BITS = 13,
  PT_COMMAND_NAME_MAX = 24
};

/* A slot of the perfect hash over all names. */
typedef struct pt_command_slot {
  uint16_t id1; /* id + 1, 0: empty */
  uint8_t len; /* bytes of the name: of the subcommand alone when it is one */
  uint8_t prefix; /* bytes before it in pt_command.name: "config|" */
} pt_command_slot;

extern const pt_command_slot pt_command_slots[1 << PT_COMMAND_BITS];
extern const uint64_t pt_command_multiplier;

#endif
