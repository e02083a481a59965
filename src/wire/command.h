/* The Redis command table (generated: command_table.c by tools/gen_commands.py) and what routing needs of it.
 * Pure functions, any thread. Source: COMMAND of redis-server 7.0. */
#ifndef PT_WIRE_COMMAND_H
#define PT_WIRE_COMMAND_H

#include "wire/resp.h"

/* pt_command.flags: Redis' own, as COMMAND prints them; a container is a command with subcommands. */
enum {
  PT_CMD_READONLY = 1 << 0,
  PT_CMD_WRITE = 1 << 1,
  PT_CMD_DENYOOM = 1 << 2,
  PT_CMD_ADMIN = 1 << 3,
  PT_CMD_PUBSUB = 1 << 4,
  PT_CMD_NOSCRIPT = 1 << 5,
  PT_CMD_BLOCKING = 1 << 6,
  PT_CMD_MOVABLEKEYS = 1 << 7,
  PT_CMD_NO_AUTH = 1 << 8,
  PT_CMD_CONTAINER = 1 << 9,
  PT_CMD_FAST = 1 << 10,
};

/* What the proxy does with it. Decided in tools/gen_commands.py by rule, never at run time. */
typedef enum pt_verb {
  PT_VERB_KEYED, /* goes to the owner of its keys' slot; with no keys in the arguments (EVAL with numkeys 0, OBJECT HELP) to any master */
  PT_VERB_FAN, /* MGET MSET DEL UNLINK EXISTS TOUCH: split over slots */
  PT_VERB_LOCAL, /* answered by the proxy, see core/local */
  PT_VERB_ANY, /* has no keys, any master will do: COMMAND, INFO, CONFIG GET, LOLWUT */
  PT_VERB_LATER, /* known, not supported through this proxy yet: transactions, pub/sub, blocking, whole-cluster, admin */
} pt_verb;

typedef enum pt_fan {
  PT_FAN_NONE,
  PT_FAN_MGET,
  PT_FAN_MSET,
  PT_FAN_SUM
} pt_fan;

/* How the keys lie in the arguments (argument 0 is the command name; a subcommand is argument 1). */
typedef enum pt_keyspec {
  PT_KEYS_NONE,
  PT_KEYS_RANGE, /* first, last (negative: from the end), step; the channels of sharded pub/sub count as keys */
  PT_KEYS_NUM, /* argument first is numkeys, keys follow: EVAL, FCALL, ZUNION, SINTERCARD, LMPOP, ...; a destination at dest if > 0 */
  PT_KEYS_STREAMS, /* XREAD, XREADGROUP: after the word STREAMS (sought from first on), half of what follows */
  PT_KEYS_SORT, /* SORT: argument 1, and the last STORE's dest */
  PT_KEYS_MIGRATE, /* argument 3, or after KEYS when it is "" */
  PT_KEYS_GEORADIUS, /* argument 1, and after the first STORE and the first STOREDIST (sought from dest on) */
} pt_keyspec;

typedef struct pt_command {
  const char *name; /* lower case; "config|get" for a subcommand */
  uint16_t id; /* index into pt_commands, which is sorted by name */
  int8_t arity; /* as Redis: positive exact, negative minimum, name counted; the container's name counts too */
  uint8_t verb; /* pt_verb */
  uint8_t fan; /* pt_fan */
  uint8_t keyspec; /* pt_keyspec */
  int8_t first, last, step, dest;
  uint32_t flags; /* PT_CMD_* */
  const char *group; /* "string", "list", ...: metrics class and the text of errors */
} pt_command;

extern const pt_command pt_commands[];
extern const unsigned pt_ncommands;

/* Finds the command of a frame by its first one or two arguments, any case. NULL: unknown. For a container with an unknown subcommand returns
 * the container itself with *subunknown = 1 (else it is 0). A container alone is itself; its arity tells whether that is a command.
 * Hot: one hash, one compare. */
const pt_command *pt_command_find(const pt_arg *args, uint32_t nargs, int *subunknown);

/* 1 when argc satisfies the command's arity. */
static inline int pt_command_arity_ok(const pt_command *c, uint32_t argc) {
  return c->arity >= 0 ? argc == (uint32_t)c->arity : argc >= (uint32_t)-c->arity;
}

/* Hot: the first key of a command whose keyspec is PT_KEYS_RANGE and first < PT_FRAME_ARGS is args[first]: callers do that inline. */

/* All keys of a complete command. Writes the argument index of each key to out[0..max) and returns how many keys there are (may exceed max),
 * 0 for none, -1 when the arguments make no sense for the command (bad numkeys, missing STREAMS, odd XREAD or MSET): let the server say so.
 * A destination comes before its sources. */
int pt_command_keys(const pt_command *c, const pt_arg *args, uint32_t argc, uint32_t *out, uint32_t max);

#endif
