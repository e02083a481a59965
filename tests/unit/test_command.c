/* The command table: found by name in any case, and the keys a real server finds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/command.h"

#include "command_keys_cases.h"

static const pt_command *find(const char *name, const char *sub, int *unknown) {
  pt_arg args[2] = {{(const uint8_t *)name, (uint32_t)strlen(name)}, {(const uint8_t *)sub, sub ? (uint32_t)strlen(sub) : 0}};
  return pt_command_find(args, sub ? 2 : 1, unknown);
}

static void every_name_is_found(void **state) {
  (void)state;
  assert_true(pt_ncommands > 350);
  for (unsigned i = 0; i < pt_ncommands; i++) {
    const pt_command *c = &pt_commands[i];
    assert_int_equal(c->id, i);
    if (i)
      assert_true(strcmp(pt_commands[i - 1].name, c->name) < 0);
    for (int upper = 0; upper < 3; upper++) {
      char name[64];
      strcpy(name, c->name);
      for (size_t k = 0; name[k]; k++)
        if (name[k] >= 'a' && name[k] <= 'z' && (upper == 1 || (upper == 2 && k % 2)))
          name[k] = (char)(name[k] - 'a' + 'A');
      char *sub = strchr(name, '|');
      if (sub)
        *sub++ = 0;
      int unknown;
      assert_ptr_equal(find(name, sub, &unknown), c);
      assert_int_equal(unknown, 0);
    }
  }
}

/* Only letters have two cases, and every byte counts. */
static void a_changed_byte_is_another_name(void **state) {
  (void)state;
  for (unsigned i = 0; i < pt_ncommands; i++) {
    char name[64];
    strcpy(name, pt_commands[i].name);
    if (strchr(name, '|'))
      continue;
    for (size_t k = 0; k < strlen(name); k++)
      for (int bit = 0; bit < 8; bit++) {
        char other[64];
        strcpy(other, name);
        other[k] = (char)(other[k] ^ 1 << bit);
        int unknown;
        const pt_command *c = find(other, NULL, &unknown);
        if (c == &pt_commands[i])
          assert_true(bit == 5 && name[k] >= 'a' && name[k] <= 'z');
        else if (c)
          assert_string_equal(c->name, other);
      }
  }
}

static void unknown_names(void **state) {
  (void)state;
  static const char *names[] = {
      "", "g", "gett", "get ", "nosuchcommand", "georadiusbymember_roo", "config|get", "a very long name of no command at all"};
  int unknown;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    assert_null(find(names[i], NULL, &unknown));
  assert_null(pt_command_find(NULL, 0, &unknown));
  const pt_command *c = find("CONFIG", "nosuch", &unknown);
  assert_string_equal(c->name, "config");
  assert_int_equal(unknown, 1);
  c = find("config", "", &unknown);
  assert_string_equal(c->name, "config");
  assert_int_equal(unknown, 1);
  c = find("config", NULL, &unknown);
  assert_string_equal(c->name, "config");
  assert_int_equal(unknown, 0);
  assert_false(pt_command_arity_ok(c, 1));
  assert_string_equal(find("client", "no\revict", &unknown)->name, "client");
  assert_string_equal(find("get", "set", &unknown)->name, "get");
  assert_string_equal(find("object", "get", &unknown)->name, "object");
  assert_int_equal(unknown, 1);
}

static void verbs(void **state) {
  (void)state;
  static const struct {
    const char *name, *sub;
    pt_verb verb;
  } want[] = {
      {"get", NULL, PT_VERB_KEYED},          {"eval", NULL, PT_VERB_KEYED},        {"xread", NULL, PT_VERB_KEYED},
      {"object", "encoding", PT_VERB_KEYED}, {"memory", "usage", PT_VERB_KEYED},   {"copy", NULL, PT_VERB_KEYED},
      {"mget", NULL, PT_VERB_FAN},           {"touch", NULL, PT_VERB_FAN},         {"msetnx", NULL, PT_VERB_KEYED},
      {"ping", NULL, PT_VERB_LOCAL},         {"client", "setinfo", PT_VERB_LOCAL}, {"client", "no-touch", PT_VERB_LOCAL},
      {"client", "kill", PT_VERB_LATER},     {"client", "reply", PT_VERB_LATER},   {"command", NULL, PT_VERB_ANY},
      {"command", "docs", PT_VERB_ANY},      {"config", "get", PT_VERB_ANY},       {"config", "set", PT_VERB_LATER},
      {"multi", NULL, PT_VERB_LATER},        {"blpop", NULL, PT_VERB_LATER},       {"watch", NULL, PT_VERB_LATER},
      {"spublish", NULL, PT_VERB_LATER},     {"cluster", "slots", PT_VERB_LATER},  {"move", NULL, PT_VERB_LATER},
  };
  for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
    int unknown;
    assert_int_equal(find(want[i].name, want[i].sub, &unknown)->verb, want[i].verb);
    assert_int_equal(unknown, 0);
  }
  for (unsigned i = 0; i < pt_ncommands; i++) {
    const pt_command *c = &pt_commands[i];
    assert_int_equal(c->verb == PT_VERB_FAN, c->fan != PT_FAN_NONE);
    if (c->verb == PT_VERB_LOCAL || c->verb == PT_VERB_ANY)
      assert_int_equal(c->keyspec, PT_KEYS_NONE);
    if (c->flags & PT_CMD_BLOCKING && c->keyspec != PT_KEYS_STREAMS)
      assert_int_equal(c->verb, PT_VERB_LATER);
  }
}

/* A line as a frame in out; its arguments in args. */
static uint32_t frame(const char *line, uint8_t out[4096], pt_arg args[64]) {
  long n = pt_inline_to_resp((const uint8_t *)line, strlen(line), out, 4096);
  assert_true(n >= 0);
  return n ? pt_request_args(out, (size_t)n, args, 64) : 0;
}

static int keys_of(const char *line, uint32_t *keys, uint32_t max, pt_arg args[64], uint8_t out[4096]) {
  int unknown;
  uint32_t argc = frame(line, out, args);
  const pt_command *c = pt_command_find(args, argc, &unknown);
  assert_non_null(c);
  return pt_command_keys(c, args, argc, keys, max);
}

static void keys_as_the_server_finds_them(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof keys_cases / sizeof *keys_cases; i++) {
    uint8_t line[4096], keys[4096];
    pt_arg args[64], want[64];
    uint32_t at[64], n = frame(keys_cases[i].keys, keys, want);
    int got = keys_of(keys_cases[i].line, at, 64, args, line);
    if (got != (int)n)
      fail_msg("%s: %d keys, not %u", keys_cases[i].line, got, n);
    for (uint32_t k = 0; k < n; k++)
      if (args[at[k]].n != want[k].n || memcmp(args[at[k]].p, want[k].p, want[k].n))
        fail_msg("%s: key %u is at %u", keys_cases[i].line, k, at[k]);
  }
}

static void arguments_that_make_no_sense(void **state) {
  (void)state;
  static const char *lines[] = {"eval s x",
                                "eval s -1 a",
                                "eval s 2 a",
                                "eval s 01 a",
                                "zunionstore d 2 a",
                                "zunionstore d",
                                "sintercard 9 a",
                                "lmpop x a LEFT",
                                "xread COUNT 1",
                                "xread STREAMS",
                                "xread STREAMS a",
                                "xread STREAMS a b 0",
                                "mset a 1 b",
                                "msetnx a",
                                "get",
                                "rename a",
                                "sort",
                                "georadius",
                                "migrate h 1",
                                "migrate h 1 k 0 9 KEYS a",
                                "eval s 4294967297 a",
                                "eval s 99999999999999999999 a"};
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
    uint8_t out[4096];
    pt_arg args[64];
    uint32_t at[64];
    if (keys_of(lines[i], at, 64, args, out) != -1)
      fail_msg("%s is taken", lines[i]);
  }
}

static void more_keys_than_room(void **state) {
  (void)state;
  uint8_t out[4096];
  pt_arg args[64];
  uint32_t at[3] = {0, 0, 77};
  assert_int_equal(keys_of("mget a b c d", at, 2, args, out), 4);
  assert_int_equal(at[1], 2);
  assert_int_equal(at[2], 77);
  assert_int_equal(keys_of("mget a b c d", NULL, 0, args, out), 4);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_name_is_found),
      cmocka_unit_test(a_changed_byte_is_another_name),
      cmocka_unit_test(unknown_names),
      cmocka_unit_test(verbs),
      cmocka_unit_test(keys_as_the_server_finds_them),
      cmocka_unit_test(arguments_that_make_no_sense),
      cmocka_unit_test(more_keys_than_room),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
