/* What test_topology.c runs against: real redis-servers in a directory of their own, and fake nodes on threads. */
#ifndef PT_TESTS_REDIS_RIG_H
#define PT_TESTS_REDIS_RIG_H

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/crc16.h"
#include "net/address.h"
#include "wire/resp.h"

/* ---- real servers ----
 * Three masters that know each other; one with all slots and a password; one without slots; one that is no cluster. */

enum {
  START_TRIES = 6000,
  MASTERS = 3,
  PASSWORD_NODE = MASTERS,
  EMPTY_NODE,
  PLAIN_NODE,
  SERVERS
};

static struct server {
  pid_t pid;
  uint16_t port;
} servers[SERVERS];
static char dir[] = "/tmp/test_topology_XXXXXX";
static pid_t owner_pid;

static int open_port(uint16_t port) {
  pt_address a;
  pt_address_parse(&a, "127.0.0.1", port);
  int fd = pt_listen(&a, 16);
  if (fd >= 0)
    close(fd);
  return fd >= 0;
}

static void end_servers(void) {
  if (getpid() != owner_pid)
    return;
  owner_pid = 0;
  for (unsigned i = 0; i < SERVERS; i++)
    if (servers[i].pid > 0) {
      kill(servers[i].pid, SIGKILL);
      waitpid(servers[i].pid, NULL, 0);
      servers[i].pid = 0;
    }
  char command[100];
  snprintf(command, sizeof command, "rm -rf %s", dir);
  if (system(command))
    fprintf(stderr, "%s is left behind\n", dir);
}

/* Sends an inline command; its reply, NULL: no connection. The buffer is static. */
static char *say(uint16_t port, const char *fmt, ...) {
  static char reply[1 << 16];
  char line[400];
  va_list args;
  va_start(args, fmt);
  int len = vsnprintf(line, sizeof line, fmt, args);
  va_end(args);
  line[len++] = '\n';
  pt_address a;
  pt_address_parse(&a, "127.0.0.1", port);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  size_t n = 0, used;
  char *result = NULL;
  if (connect(fd, &a.sa, a.len) == 0 && write(fd, line, (size_t)len) == len)
    for (;;) {
      ssize_t got = read(fd, reply + n, sizeof reply - 1 - n);
      if (got <= 0)
        break;
      n += (size_t)got;
      pt_reply scan = {0};
      if (pt_reply_scan(&scan, (uint8_t *)reply, n, &used) != PT_RESP_OK)
        continue;
      reply[n] = 0;
      result = reply;
      break;
    }
  close(fd);
  return result;
}

static int start_server(unsigned i) {
  char port[8], where[64], log[80];
  snprintf(port, sizeof port, "%u", servers[i].port);
  snprintf(where, sizeof where, "%s/%u", dir, i);
  snprintf(log, sizeof log, "%s/log", where);
  char *argv[] = {"redis-server",
                  "--port",
                  port,
                  "--bind",
                  "127.0.0.1",
                  "--dir",
                  where,
                  "--logfile",
                  log,
                  "--save",
                  "",
                  "--cluster-enabled",
                  i == PLAIN_NODE ? "no" : "yes",
                  NULL};
  if (mkdir(where, 0700) && errno != EEXIST)
    return -1;
  pid_t pid = fork();
  if (!pid) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execvp(argv[0], argv);
    _exit(127);
  }
  servers[i].pid = pid;
  for (int tries = 0; tries < START_TRIES; tries++) {
    if (say(servers[i].port, "PING"))
      return 0;
    if (waitpid(pid, NULL, WNOHANG) == pid) {
      servers[i].pid = 0;
      return -1;
    }
    usleep(10000);
  }
  return -1;
}

static int start_somewhere(unsigned i) {
  static unsigned seed;
  seed += (unsigned)getpid();
  for (int tries = 0; tries < 5; tries++) {
    do
      servers[i].port = (uint16_t)(11000 + rand_r(&seed) % 11000);
    while (!open_port(servers[i].port) || !open_port(servers[i].port + 10000));
    if (!start_server(i))
      return 0;
  }
  fprintf(stderr, "redis-server does not start (is it installed?)\n");
  return -1;
}

static int start_servers(void **state) {
  (void)state;
  owner_pid = getpid();
  if (!mkdtemp(dir))
    return -1;
  atexit(end_servers);
  for (unsigned i = 0; i < SERVERS; i++)
    if (start_somewhere(i))
      return -1;
  for (int i = 0; i < MASTERS; i++) {
    say(servers[i].port, "CLUSTER ADDSLOTSRANGE %d %d", i * PT_SLOTS / MASTERS, (i + 1) * PT_SLOTS / MASTERS - 1);
    say(servers[i].port, "CLUSTER MEET 127.0.0.1 %u", servers[0].port);
  }
  say(servers[PASSWORD_NODE].port, "CLUSTER ADDSLOTSRANGE 0 16383");
  say(servers[PASSWORD_NODE].port, "CONFIG SET requirepass sesame");
  for (int i = 0, tries = 0; i < MASTERS; tries++) {
    const char *info = say(servers[i].port, "CLUSTER INFO");
    if (info && strstr(info, "cluster_state:ok") && strstr(info, "cluster_known_nodes:3"))
      i++;
    else if (usleep(10000) || tries == START_TRIES)
      return -1;
  }
  return 0;
}

static int stop_servers(void **state) {
  (void)state;
  end_servers();
  return 0;
}

/* All three masters agree that a slot is node i's. */
static void give_slot(unsigned slot, int i) {
  char id[41];
  snprintf(id, sizeof id, "%s", strstr(say(servers[i].port, "CLUSTER MYID"), "\r\n") + 2);
  for (int k = 0; k < MASTERS; k++)
    assert_string_equal(say(servers[(i + k) % MASTERS].port, "CLUSTER SETSLOT %u NODE %s", slot, id), "+OK\r\n");
}

/* ---- fake nodes ---- */

typedef struct fake {
  int door;
  uint16_t port;
  pthread_t thread;
  const char *_Atomic shards; /* what it answers; NULL: nothing, ever */
  const char *_Atomic slots;
  const char *_Atomic auth;
  size_t junk; /* bytes that follow what shards begins */
  atomic_int asked; /* connections taken */
  atomic_bool ended;
  bool runs;
} fake;

static void answer(fake *f, int fd) {
  char buf[4096];
  ssize_t n;
  while ((n = recv(fd, buf, sizeof buf - 1, 0)) > 0) {
    buf[n] = 0;
    const char *text = strstr(buf, "SHARDS") ? f->shards : strstr(buf, "SLOTS") ? f->slots : f->auth;
    if (!text)
      continue;
    if (!*text || send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
      return;
    memset(buf, 'x', sizeof buf);
    for (size_t left = f->junk; left; left -= left < sizeof buf ? left : sizeof buf)
      if (send(fd, buf, left < sizeof buf ? left : sizeof buf, MSG_NOSIGNAL) < 0)
        return;
  }
}

static void *serve(void *arg) {
  fake *f = arg;
  struct pollfd p = {.fd = f->door, .events = POLLIN};
  while (!f->ended) {
    if (poll(&p, 1, 20) < 1)
      continue;
    int fd = accept4(f->door, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
      continue;
    f->asked++;
    answer(f, fd);
    close(fd);
  }
  return NULL;
}

static fake fakes[16];
static unsigned nfakes;

/* A port that refuses, until fake_start. Lives until end_fakes. */
static fake *fake_bind(const char *host) {
  fake *f = &fakes[nfakes++];
  pt_address a;
  assert_in_range(nfakes, 1, sizeof fakes / sizeof fakes[0]);
  memset(f, 0, sizeof *f);
  assert_int_equal(pt_address_parse(&a, host, 0), 0);
  f->door = socket(a.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(f->door, &a.sa, a.len), 0);
  assert_int_equal(getsockname(f->door, &a.sa, &a.len), 0);
  f->port = pt_address_port(&a);
  return f;
}

static void fake_start(fake *f, const char *shards) {
  f->shards = shards;
  assert_int_equal(listen(f->door, 64), 0);
  assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
  f->runs = true;
}

static fake *fake_open(const char *shards) {
  fake *f = fake_bind("127.0.0.1");
  fake_start(f, shards);
  return f;
}

static void fake_end(fake *f) {
  f->ended = true;
  if (f->runs)
    pthread_join(f->thread, NULL);
  if (f->door >= 0)
    close(f->door);
  f->runs = false;
  f->door = -1;
}

static void end_fakes(void) {
  while (nfakes)
    fake_end(&fakes[--nfakes]);
}

/* A view: host:port has the slots up to one. Kept for the whole test. */
static const char *view(int last_slot, const char *host, unsigned port) {
  static char texts[32][200];
  static unsigned next;
  char *text = texts[next++ % 32];
  snprintf(text, 200, "*1\r\n*3\r\n:0\r\n:%d\r\n*2\r\n$%zu\r\n%s\r\n:%u\r\n", last_slot, strlen(host), host, port);
  return text;
}

#endif
