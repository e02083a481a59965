/* Load at a fixed rate, whatever the answers do: GETs of existing keys arrive as a Poisson process, spread over n connections, and latency counts from
 * the moment a request was due, not from when it could be sent (no coordinated omission). Prints one JSON line.
 * Usage: openloop PORT CONNECTIONS RATE SECONDS KEYS VALUE_SIZE */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define QUEUE 4096 /* unanswered requests of one connection, a power of two */
#define DRAIN_NS 5000000000ull

typedef struct connection {
  int fd;
  uint32_t head, tail; /* of due: the oldest unanswered, the next free */
  size_t have; /* bytes read of the reply that is incomplete */
  uint64_t due[QUEUE];
} connection;

static size_t reply_size;
static char reply[1 << 16];
static uint32_t *latency, answered; /* ns / 16 */

static void die(const char *what) {
  fprintf(stderr, "openloop: %s: %s\n", what, errno ? strerror(errno) : "protocol");
  exit(1);
}

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t random64(void) {
  static uint64_t x = 88172645463325252ull; /* xorshift: the same arrivals in every run */
  x ^= x << 13;
  x ^= x >> 7;
  return x ^= x << 17;
}

static uint64_t gap(double rate) {
  double u = (double)(random64() >> 11) / 9007199254740992.0;
  return (uint64_t)(-log(1 - u) / rate * 1e9);
}

static void dial(connection *c, int epoll, int port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&a, sizeof a))
    die("connect");
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
  fcntl(c->fd, F_SETFL, O_NONBLOCK);
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e))
    die("epoll_ctl");
}

static void ask(connection *c, uint64_t due, unsigned keys) {
  char b[64];
  int n = snprintf(b, sizeof b, "*2\r\n$3\r\nGET\r\n$16\r\nkey:%012u\r\n", (unsigned)(random64() % keys));
  errno = 0;
  if (c->tail - c->head == QUEUE || send(c->fd, b, (size_t)n, MSG_NOSIGNAL) != n) /* the proxy is seconds behind: no such rate */
    die("overloaded");
  c->due[c->tail++ % QUEUE] = due;
}

/* Every reply must be the one expected, byte for byte. */
static void hear(connection *c) {
  static char b[1 << 16];
  ssize_t n = recv(c->fd, b, sizeof b, 0);
  if (n < 0 && errno == EAGAIN)
    return;
  if (n <= 0)
    die("recv");
  uint64_t t = now();
  for (size_t at = 0; at < (size_t)n;) {
    size_t take = reply_size - c->have, left = (size_t)n - at;
    take = take < left ? take : left;
    errno = 0;
    if (c->head == c->tail || memcmp(b + at, reply + c->have, take))
      die("not the reply expected");
    at += take;
    c->have = (c->have + take) % reply_size;
    if (!c->have)
      latency[answered++] = (uint32_t)((t - c->due[c->head++ % QUEUE]) / 16);
  }
}

static int ascending(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

static double ms(const uint32_t *sorted, uint32_t n, double part) {
  uint32_t i = (uint32_t)(part * n);
  return n ? sorted[i < n ? i : n - 1] * 16 / 1e6 : 0;
}

int main(int argc, char **argv) {
  if (argc != 7) {
    fprintf(stderr, "usage: openloop PORT CONNECTIONS RATE SECONDS KEYS VALUE_SIZE\n");
    return 2;
  }
  unsigned n = (unsigned)atoi(argv[2]), keys = (unsigned)atoi(argv[5]), size = (unsigned)atoi(argv[6]);
  double rate = atof(argv[3]), seconds = atof(argv[4]);
  if (!n || rate < 1 || seconds <= 0 || !keys || size > sizeof reply - 32)
    return 2;
  reply_size = (size_t)sprintf(reply, "$%u\r\n", size);
  memset(reply + reply_size, 'x', size);
  memcpy(reply + reply_size + size, "\r\n", 2);
  reply_size += size + 2;

  uint32_t most = (uint32_t)(rate * seconds * 1.2) + 1000, sent = 0;
  latency = calloc(most, sizeof *latency);
  uint32_t *late = calloc(most, sizeof *late);
  connection *c = calloc(n, sizeof *c);
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (!latency || !late || !c || epoll < 0)
    die("setup");
  prctl(PR_SET_TIMERSLACK, 1);
  for (unsigned i = 0; i < n; i++)
    dial(&c[i], epoll, atoi(argv[1]));

  uint64_t start = now(), due = start + gap(rate), end = start + (uint64_t)(seconds * 1e9), t;
  while ((t = now()) < end + DRAIN_NS && (due < end || answered < sent)) {
    for (; due <= t && due < end && sent < most; due += gap(rate)) {
      ask(&c[random64() % n], due, keys);
      late[sent++] = (uint32_t)((now() - due) / 16);
    }
    uint64_t until = due < end ? due : t + 10000000;
    t = now();
    uint64_t wait = until > t ? until - t : 0;
    struct epoll_event e[64];
    int m = epoll_pwait2(epoll, e, 64, &(struct timespec){(time_t)(wait / 1000000000), (long)(wait % 1000000000)}, NULL);
    if (m < 0 && errno != EINTR)
      die("epoll");
    for (int i = 0; i < m; i++)
      hear(e[i].data.ptr);
  }
  qsort(latency, answered, sizeof *latency, ascending);
  qsort(late, sent, sizeof *late, ascending);
  printf("{\"sent\": %u, \"answered\": %u, \"rate\": %.0f, \"p50_ms\": %.4f, \"p90_ms\": %.4f, \"p99_ms\": %.4f, \"p999_ms\": "
         "%.4f, \"max_ms\": %.4f, "
         "\"late_p50_ms\": %.4f, \"late_p99_ms\": %.4f}\n",
         sent, answered, sent / seconds, ms(latency, answered, .5), ms(latency, answered, .9), ms(latency, answered, .99),
         ms(latency, answered, .999), ms(latency, answered, 1), ms(late, sent, .5), ms(late, sent, .99));
  return answered == sent ? 0 : 1;
}
