/* Key extraction: whatever the arguments, every index is one of them. The input is an inline line; its first word may be "#" and a byte,
 * which picks a command, so that every command is reached. */
#include <stdlib.h>
#include <string.h>

#include "wire/command.h"

static void check(int ok) {
  if (!ok)
    abort();
}

static void check_keys(const pt_command *c, const pt_arg *args, uint32_t argc) {
  static uint32_t at[4096];
  int n = pt_command_keys(c, args, argc, at, 4096), few;
  check(n >= -1 && n <= (int)argc);
  for (int i = 0; i < n; i++)
    check(at[i] > 0 && at[i] < argc);
  uint32_t one[2] = {0, 77};
  few = pt_command_keys(c, args, argc, one, 1);
  check(few == n && one[1] == 77 && (n <= 0 || one[0] == at[0]));
}

int LLVMFuzzerTestOneInput(const uint8_t *buf, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *buf, size_t n) {
  static uint8_t frame[8 * 4096 + 32];
  static pt_arg args[4096];
  if (n > 4096)
    return 0;
  long len = pt_inline_to_resp(buf, n, frame, sizeof frame);
  if (len <= 0)
    return 0;
  uint32_t argc = pt_request_args(frame, (size_t)len, args, 4096);
  int unknown;
  const pt_command *c = pt_command_find(args, argc, &unknown);
  check(!unknown || (c->flags & PT_CMD_CONTAINER));
  if (c)
    check_keys(c, args, argc);
  if (args[0].n >= 2 && args[0].p[0] == '#')
    for (uint32_t i = args[0].p[1]; i < pt_ncommands; i += 256)
      check_keys(&pt_commands[i], args, argc);
  return 0;
}
