/* The lines on stderr: their form, their limits, what is escaped, what is left out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"

static int kept = -1, file = -1;
static char text[1 << 20];

static void begin(void) {
  kept = dup(STDERR_FILENO);
  file = memfd_create("log", MFD_CLOEXEC);
  assert_true(kept >= 0 && file >= 0 && dup2(file, STDERR_FILENO) >= 0);
}

/* What was written to stderr since begin. */
static const char *end(void) {
  dup2(kept, STDERR_FILENO);
  close(kept);
  ssize_t n = pread(file, text, sizeof text - 1, 0);
  close(file);
  assert_true(n >= 0);
  text[n] = 0;
  return text;
}

/* The line behind its time stamp, which must look like one. */
static const char *after_time(const char *line) {
  static const char form[] = "dddd-dd-ddTdd:dd:dd.dddZ";
  for (size_t i = 0; i < sizeof form - 1; i++)
    if (form[i] == 'd' ? line[i] < '0' || line[i] > '9' : line[i] != form[i])
      fail_msg("no time stamp: %s", line);
  return line + sizeof form - 1;
}

static void as_text(void **state) {
  (void)state;
  pt_log_setup(PT_LOG_DEBUG, 0);
  begin();
  pt_info("topology", "%d masters", 3);
  assert_string_equal(after_time(end()), " info  topology: 3 masters\n");
  begin();
  pt_error("x", "a\nb\r\tc\x1b[31m\x7f \"q\" \\");
  assert_string_equal(after_time(end()), " error x: a\\nb\\r\\tc\\x1b[31m\\x7f \"q\" \\\n");
  begin();
  pt_warn("x", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \xff\xc0\xaf\xed\xa0\x80\xc2\x9b");
  assert_string_equal(after_time(end()),
                      " warn  x: caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \\xff\\xc0\\xaf\\xed\\xa0\\x80\\xc2\\x9b\n");
}

static void as_json(void **state) {
  (void)state;
  pt_log_setup(PT_LOG_INFO, 1);
  begin();
  pt_info("topology", "say \"hi\" \\ \n \x01 \xff \xc3\xa9");
  const char *line = end();
  assert_memory_equal(line, "{\"ts\":\"", 7);
  assert_string_equal(after_time(line + 7),
                      "\",\"level\":\"info\",\"event\":\"topology\",\"msg\":\"say \\\"hi\\\" \\\\ \\n \\u0001 \\ufffd "
                      "\xc3\xa9\"}\n");
}

static void levels(void **state) {
  (void)state;
  assert_int_equal(pt_log_level("debug"), PT_LOG_DEBUG);
  assert_int_equal(pt_log_level("error"), PT_LOG_ERROR);
  assert_int_equal(pt_log_level("loud"), -1);
  assert_int_equal(pt_log_level(""), -1);
  pt_log_setup(PT_LOG_WARN, 0);
  assert_int_equal(pt_log_shows(PT_LOG_INFO), 0);
  assert_int_equal(pt_log_shows(PT_LOG_WARN), 1);
  begin();
  pt_debug("x", "no");
  pt_info("x", "no");
  pt_warn("x", "yes");
  assert_string_equal(after_time(end()), " warn  x: yes\n");
}

/* Both forms are cut at 4 KiB, never inside a character or an escape, and end as they should. */
static void long_lines_are_cut(void **state) {
  (void)state;
  static const char *const pieces[] = {"a", "\xe2\x82\xac", "\n", "\xff", "\""};
  for (size_t p = 0; p < sizeof pieces / sizeof pieces[0]; p++)
    for (int json = 0; json < 2; json++)
      for (int shift = 0; shift < 8; shift++) {
        char msg[9000] = "1234567";
        msg[shift] = 0;
        while (strlen(msg) < 8000)
          strcat(msg, pieces[p]);
        pt_log_setup(PT_LOG_INFO, json);
        begin();
        pt_info("x", "%s", msg);
        const char *line = end(), *tail = json ? "...\"}\n" : "...\n";
        size_t n = strlen(line), t = strlen(tail);
        assert_in_range(n, 4000, 4096);
        assert_string_equal(line + n - t, tail);
        if (!strcmp(pieces[p], "\xe2\x82\xac"))
          assert_memory_equal(line + n - t - 3, pieces[p], 3);
        assert_ptr_equal(strchr(line, '\n'), line + n - 1);
      }
}

static void errno_is_kept(void **state) {
  (void)state;
  pt_log_setup(PT_LOG_INFO, 0);
  begin();
  errno = ENOENT;
  pt_info("x", "%m");
  assert_int_equal(errno, ENOENT);
  assert_string_equal(after_time(end()), " info  x: No such file or directory\n");
  int saved = dup(STDERR_FILENO);
  close(STDERR_FILENO); /* a line that cannot be written is lost, and that is all */
  errno = ENOENT;
  pt_info("x", "lost");
  int after = errno;
  dup2(saved, STDERR_FILENO);
  close(saved);
  assert_int_equal(after, ENOENT);
}

static void one_line_a_second(void **state) {
  (void)state;
  pt_log_rate r = {0};
  pt_log_setup(PT_LOG_INFO, 0);
  begin();
  assert_int_equal(pt_log_every(&r, PT_LOG_DEBUG, "x", "not shown"), 0);
  assert_int_equal(pt_log_every(&r, PT_LOG_WARN, "x", "first"), 1);
  atomic_store(&r.next_ns, UINT64_MAX); /* the second is not over */
  for (int i = 0; i < 41; i++)
    assert_int_equal(pt_log_every(&r, PT_LOG_WARN, "x", "more"), 0);
  atomic_store(&r.next_ns, 0);
  assert_int_equal(pt_log_every(&r, PT_LOG_WARN, "x", "last"), 1);
  const char *line = after_time(end()), *second = strchr(line, '\n') + 1;
  assert_memory_equal(line, " warn  x: first\n", 16);
  assert_string_equal(after_time(second), " warn  x: last (and 41 more like it)\n");
}

static void a_long_line_still_tells_how_many(void **state) {
  (void)state;
  for (int json = 0; json < 2; json++) {
    pt_log_rate r = {.dropped = 7};
    pt_log_setup(PT_LOG_INFO, json);
    begin();
    assert_int_equal(pt_log_every(&r, PT_LOG_WARN, "topology", "%05000d", 1), 1);
    assert_non_null(strstr(end(), json ? "00... (and 7 more like it)\"}\n" : "00... (and 7 more like it)\n"));
  }
}

static pt_log_rate shared;
static atomic_int said;

static void *speaker(void *arg) {
  (void)arg;
  for (int i = 0; i < 500; i++) {
    pt_info("thread", "%0100d", 5);
    atomic_fetch_add(&said, pt_log_every(&shared, PT_LOG_INFO, "rate", "r"));
  }
  return NULL;
}

/* A line of the shared rate: how many it speaks for. */
static unsigned long counted(const char *rest) {
  unsigned long more = 0;
  assert_memory_equal(rest, " info  rate: r", 14);
  sscanf(rest, " info  rate: r (and %lu more like it)", &more);
  return 1 + more;
}

/* Lines of many threads stay whole; of a shared rate every call is shown or counted. */
static void threads(void **state) {
  (void)state;
  pthread_t t[4];
  int p[2], whole = 0, rated = 0;
  unsigned long sum = 0;
  char line[5000], want[200];
  snprintf(want, sizeof want, " info  thread: %0100d\n", 5);
  pt_log_setup(PT_LOG_INFO, 0);
  begin();
  assert_int_equal(pipe(p), 0);
  dup2(p[1], STDERR_FILENO);
  close(p[1]);
  for (int i = 0; i < 4; i++)
    pthread_create(&t[i], NULL, speaker, NULL);
  FILE *in = fdopen(p[0], "r");
  while (whole < 2000 && fgets(line, sizeof line, in)) {
    if (!strcmp(after_time(line), want)) {
      whole++;
      continue;
    }
    sum += counted(after_time(line));
    rated++;
  }
  for (int i = 0; i < 4; i++)
    pthread_join(t[i], NULL);
  dup2(kept, STDERR_FILENO); /* the pipe has no writer any more */
  while (fgets(line, sizeof line, in)) {
    sum += counted(after_time(line));
    rated++;
  }
  fclose(in);
  end();
  assert_int_equal(whole, 2000);
  assert_int_equal(rated, said);
  assert_int_equal(sum + shared.dropped, 2000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(as_text),
      cmocka_unit_test(as_json),
      cmocka_unit_test(levels),
      cmocka_unit_test(long_lines_are_cut),
      cmocka_unit_test(errno_is_kept),
      cmocka_unit_test(one_line_a_second),
      cmocka_unit_test(a_long_line_still_tells_how_many),
      cmocka_unit_test(threads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
