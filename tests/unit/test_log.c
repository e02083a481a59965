/* The lines on stderr: their form, their limits, what is escaped, what is left out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/log_sink.h"

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

static unsigned long untold; /* lines lost while there was no thread to tell it */

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
  untold++;
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
static bool slow;

static void *speaker(void *arg) {
  (void)arg;
  for (int i = 0; i < 500; i++) {
    pt_info("thread", "%0100d", 5);
    if (slow)
      pt_log_flush(1000);
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
static void many(bool sink) {
  pthread_t t[4];
  int p[2], whole = 0, rated = 0;
  unsigned long sum = 0;
  char line[5000], want[200];
  snprintf(want, sizeof want, " info  thread: %0100d\n", 5);
  pt_log_setup(PT_LOG_INFO, 0);
  shared = (pt_log_rate){0};
  said = 0;
  begin();
  assert_int_equal(pipe(p), 0);
  dup2(p[1], STDERR_FILENO);
  close(p[1]);
  if (sink)
    assert_int_equal(pt_log_start(), 0);
  for (int i = 0; i < 4; i++)
    pthread_create(&t[i], NULL, speaker, NULL);
  FILE *in = fdopen(p[0], "r");
  while (whole < 2000 && fgets(line, sizeof line, in)) {
    if (strstr(line, " warn  log: 1 lines were lost")) { /* the one of errno_is_kept */
      untold--;
      continue;
    }
    if (!strcmp(after_time(line), want)) {
      whole++;
      continue;
    }
    sum += counted(after_time(line));
    rated++;
  }
  for (int i = 0; i < 4; i++)
    pthread_join(t[i], NULL);
  pt_log_stop();
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

static void threads(void **state) {
  (void)state;
  many(false);
}

/* The sink loses what comes faster than it writes; its speakers wait here. */
static void threads_with_a_sink(void **state) {
  (void)state;
  slow = true;
  many(true);
}

/* ---- where lines go ---- */

static char dir[] = "/tmp/puerta-log-XXXXXX";

static const char *in_dir(const char *name) {
  static char path[128];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  return path;
}

static const char *content(const char *path) {
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  fclose(f);
  return text;
}

static void make_dir(void) { assert_non_null(mkdtemp(strcpy(dir, "/tmp/puerta-log-XXXXXX"))); }

static void a_file_and_its_reopening(void **state) {
  (void)state;
  make_dir();
  char file_path[128], moved[128];
  strcpy(file_path, in_dir("p.log"));
  strcpy(moved, in_dir("p.log.1"));
  pt_log_setup(PT_LOG_INFO, 0);
  assert_int_equal(pt_log_to(in_dir("no/such/p.log")), -ENOENT);
  assert_int_equal(pt_log_to(file_path), 0);
  assert_int_equal(pt_log_start(), 0);
  pt_info("x", "one");
  pt_log_flush(5000);
  assert_int_equal(rename(file_path, moved), 0);
  pt_info("x", "two");
  pt_log_flush(5000);
  assert_int_equal(pt_log_reopen(), 0);
  pt_info("x", "three");
  pt_log_stop();
  const char *line = after_time(content(moved));
  assert_memory_equal(line, " info  x: one\n", 14);
  assert_string_equal(after_time(line + 14), " info  x: two\n");
  assert_string_equal(after_time(content(file_path)), " info  x: three\n");
  unlink(file_path);
  unlink(moved);
  rmdir(dir);
  assert_int_equal(pt_log_to("stderr"), 0);
}

static int listen_at(const char *path) {
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  strcpy(a.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  struct timeval patience = {10, 0};
  assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return fd;
}

static const char *datagram(int fd) {
  ssize_t n = recv(fd, text, sizeof text - 1, 0);
  assert_true(n > 0);
  text[n] = 0;
  return text;
}

/* Both, and what becomes of a line when the daemon behind the socket is another one. */
static void syslog_and_journal(void **state) {
  (void)state;
  char to[160], path[128], want[128];
  int day, hour, minute, second, pid, at = 0;
  make_dir();
  strcpy(path, in_dir("s"));
  snprintf(to, sizeof to, "syslog:%s", path);
  assert_int_equal(pt_log_to(to), -ENOENT);
  int fd = listen_at(path);
  pt_log_setup(PT_LOG_INFO, 0);
  assert_int_equal(pt_log_to(to), 0);
  pt_warn("health", "a\nb");
  const char *got = datagram(fd);
  assert_int_equal(sscanf(got, "<28>%*3s %d %d:%d:%d puerta[%d]: %n", &day, &hour, &minute, &second, &pid, &at), 5);
  assert_int_equal(pid, getpid());
  assert_string_equal(got + at, "health: a\\nb");
  close(fd);
  unlink(path);
  fd = listen_at(path);
  pt_error("health", "after");
  assert_non_null(strstr(datagram(fd), "<27>"));
  close(fd);
  unlink(path);
  unsigned long long lost = pt_log_lost();
  pt_error("health", "nobody is there");
  assert_int_equal(pt_log_lost(), lost + 1);
  untold++;
  fd = listen_at(path);
  snprintf(to, sizeof to, "journald:%s", path);
  assert_int_equal(pt_log_to(to), 0);
  pt_info("health", "up\nMESSAGE=forged");
  snprintf(want, sizeof want, "PRIORITY=6\nSYSLOG_IDENTIFIER=puerta\nPT_EVENT=health\nMESSAGE=health: up\\nMESSAGE=forged\n");
  assert_string_equal(datagram(fd), want);
  assert_int_equal(pt_log_to("stderr"), 0);
  close(fd);
  unlink(path);
  rmdir(dir);
}

/* systemd's stderr: priorities instead of times. One that has been redirected since is an ordinary one. */
static void stderr_to_the_journal(void **state) {
  (void)state;
  char stream[64];
  struct stat s;
  pt_log_setup(PT_LOG_INFO, 0);
  begin();
  assert_int_equal(fstat(STDERR_FILENO, &s), 0);
  snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)s.st_dev, (unsigned long long)s.st_ino);
  setenv("JOURNAL_STREAM", stream, 1);
  assert_int_equal(pt_log_to("stderr"), 0);
  pt_error("x", "y");
  assert_string_equal(end(), "<3>x: y\n");
  begin();
  assert_int_equal(pt_log_to("stderr"), 0);
  pt_error("x", "y");
  assert_string_equal(after_time(end()), " error x: y\n");
  unsetenv("JOURNAL_STREAM");
}

/* Nobody who logs waits for a reader that does not read; what does not fit is counted and told. A new target gets what waits. */
static void a_stalled_reader(void **state) {
  (void)state;
  enum {
    LINES = 3 * PT_LOG_QUEUE
  };
  char path[128], line[300];
  int p[2], seen = 0;
  unsigned long lost = 0;
  make_dir();
  strcpy(path, in_dir("p.log"));
  pt_log_setup(PT_LOG_INFO, 0);
  begin();
  assert_int_equal(pipe(p), 0);
  assert_int_equal(fcntl(p[1], F_SETFL, O_NONBLOCK), 0);
  while (write(p[1], path, 1) > 0)
    ;
  assert_int_equal(fcntl(p[1], F_SETFL, 0), 0);
  dup2(p[1], STDERR_FILENO);
  close(p[1]);
  unsigned long long before = pt_log_lost();
  assert_int_equal(pt_log_start(), 0);
  for (int i = 0; i < LINES; i++)
    pt_info("x", "%0100d", i);
  lost = pt_log_lost() - before;
  assert_in_range(lost, LINES - PT_LOG_QUEUE - 1, LINES - PT_LOG_QUEUE); /* the thread holds one */
  assert_int_equal(pt_log_to(path), 0);
  pt_log_flush(5000);
  pt_info("x", "at last");
  pt_log_stop();
  end();
  close(p[0]);
  unsigned long told = 0, part = 0;
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  while (fgets(line, sizeof line, f)) {
    const char *telling = strstr(line, " warn  log: ");
    if (telling)
      assert_int_equal(sscanf(telling, " warn  log: %lu lines were lost", &part), 1);
    told += telling ? part : 0;
    seen += !telling;
  }
  fclose(f);
  assert_int_equal(told, lost + untold);
  assert_int_equal(seen, LINES - lost + 1);
  unlink(path);
  rmdir(dir);
  assert_int_equal(pt_log_to("stderr"), 0);
}

/* At most 200, the oldest first, whole objects however small the room. */
static void the_tail(void **state) {
  (void)state;
  static char out[1 << 16];
  pt_log_setup(PT_LOG_INFO, 0);
  begin();
  for (int i = 0; i < 250; i++)
    pt_info("tail", "line \"%d\"", i);
  pt_debug("tail", "not shown");
  end();
  size_t n = pt_log_tail(out, sizeof out);
  assert_int_equal(n, strlen(out));
  assert_memory_equal(out, "[{\"ts\":\"", 8);
  const char *first = strstr(out, "\"level\":\"info\",\"event\":\"tail\",\"msg\":\"line \\\"50\\\"\"},{");
  assert_non_null(first);
  assert_true(first < strchr(out, '}'));
  assert_string_equal(out + n - 15, "line \\\"249\\\"\"}]");
  assert_null(strstr(out, "not shown"));
  for (size_t cap = 0; cap < 400; cap++) {
    memset(out, 'x', sizeof out);
    n = pt_log_tail(out, cap);
    assert_true(cap < 3 ? n == 0 : n >= 2 && n < cap);
    assert_int_equal(out[cap], 'x');
    if (cap >= 3) {
      assert_int_equal(out[n], 0);
      assert_true(n == 2 ? !strcmp(out, "[]") : !strncmp(out, "[{\"ts\"", 6) && !strcmp(out + n - 3, "\"}]"));
    }
  }
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
      cmocka_unit_test(threads_with_a_sink),
      cmocka_unit_test(a_file_and_its_reopening),
      cmocka_unit_test(syslog_and_journal),
      cmocka_unit_test(stderr_to_the_journal),
      cmocka_unit_test(a_stalled_reader),
      cmocka_unit_test(the_tail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
