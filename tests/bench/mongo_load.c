/* Both ends of a MongoDB load, so that what lies between them is the only thing that costs:
 *
 *   mongo_load serve PORT...                                      a scripted server: hello, find (one document of the size asked for), insert
 *   mongo_load run PORT CLIENTS SECONDS find|insert SIZE          closed loop; prints one line of JSON
 *   mongo_load idle PORT CLIENTS                                  says hello on each, prints "ready", waits for the end of stdin
 *
 * Each client has an appName of its own. A reply that is not what was asked for ends the run with an error. */
#include <arpa/inet.h>
#include <bson/bson.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
  HEADER = 16,
  OP_MSG = 2013,
  OP_QUERY = 2004,
  OP_REPLY = 1,
  EVENTS = 256,
  SAMPLES = 1 << 20
};

typedef struct peer {
  int fd;
  uint8_t *in;
  size_t have, cap;
  const uint8_t *out; /* what is being sent; not owned */
  size_t out_n, out_at;
  uint8_t *mine; /* an answer made for this peer alone */
  uint64_t sent; /* ns; client */
  int greeted;
} peer;

static int poller;

static void die(const char *what) {
  fprintf(stderr, "mongo_load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void put32(uint8_t *p, uint32_t v) { memcpy(p, &v, 4); }
static uint32_t get32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, 4);
  return v;
}

/* A whole message of a document: OP_MSG, or OP_REPLY. Malloc'ed. */
static uint8_t *message(const bson_t *doc, uint32_t opcode, uint32_t id, uint32_t to, size_t *n) {
  size_t before = opcode == OP_REPLY ? 20 : 5;
  *n = HEADER + before + doc->len;
  uint8_t *m = calloc(1, *n);
  put32(m, (uint32_t)*n);
  put32(m + 4, id);
  put32(m + 8, to);
  put32(m + 12, opcode);
  if (opcode == OP_REPLY)
    put32(m + HEADER + 16, 1);
  memcpy(m + HEADER + before, bson_get_data(doc), doc->len);
  return m;
}

static void watch(peer *p, int op) {
  struct epoll_event e = {.events = EPOLLIN | (p->out_at < p->out_n ? EPOLLOUT : 0), .data.ptr = p};
  epoll_ctl(poller, op, p->fd, &e);
}

/* 0, or -1: the peer has gone. */
static int push(peer *p, int waits) {
  while (p->out_at < p->out_n) {
    ssize_t n = send(p->fd, p->out + p->out_at, p->out_n - p->out_at, MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) {
      if (!waits)
        watch(p, EPOLL_CTL_MOD);
      return 0;
    }
    if (n < 0)
      return -1;
    p->out_at += (size_t)n;
  }
  if (waits)
    watch(p, EPOLL_CTL_MOD);
  return 0;
}

/* Reads what is there; 1: a whole message at p->in. */
static int pull(peer *p) {
  if (p->cap - p->have < 65536)
    p->in = realloc(p->in, p->cap = p->cap * 2 + 131072);
  size_t want = p->have >= HEADER ? get32(p->in) - p->have : p->cap - p->have;
  if (want > p->cap - p->have)
    want = p->cap - p->have;
  ssize_t n = recv(p->fd, p->in + p->have, want, 0);
  if (n == 0 || (n < 0 && errno != EAGAIN))
    return -1;
  p->have += n > 0 ? (size_t)n : 0;
  return p->have >= HEADER && p->have >= get32(p->in);
}

/* ---- the server ---- */

static void hello(bson_t *d) {
  BSON_APPEND_BOOL(d, "ismaster", true);
  BSON_APPEND_BOOL(d, "isWritablePrimary", true);
  BSON_APPEND_UTF8(d, "msg", "isdbgrid");
  BSON_APPEND_INT32(d, "maxBsonObjectSize", 16777216);
  BSON_APPEND_INT32(d, "maxMessageSizeBytes", 48000000);
  BSON_APPEND_INT32(d, "maxWriteBatchSize", 100000);
  BSON_APPEND_INT32(d, "logicalSessionTimeoutMinutes", 30);
  BSON_APPEND_INT32(d, "minWireVersion", 0);
  BSON_APPEND_INT32(d, "maxWireVersion", 21);
  BSON_APPEND_DOUBLE(d, "ok", 1);
}

static void found(bson_t *d, int32_t size) {
  bson_t cursor, batch, doc;
  uint8_t *fill = calloc(1, (size_t)size);
  BSON_APPEND_DOCUMENT_BEGIN(d, "cursor", &cursor);
  BSON_APPEND_ARRAY_BEGIN(&cursor, "firstBatch", &batch);
  BSON_APPEND_DOCUMENT_BEGIN(&batch, "0", &doc);
  BSON_APPEND_INT32(&doc, "_id", 1);
  BSON_APPEND_BINARY(&doc, "x", BSON_SUBTYPE_BINARY, fill, (uint32_t)size);
  bson_append_document_end(&batch, &doc);
  bson_append_array_end(&cursor, &batch);
  BSON_APPEND_INT64(&cursor, "id", 0);
  BSON_APPEND_UTF8(&cursor, "ns", "bench.c");
  bson_append_document_end(d, &cursor);
  BSON_APPEND_DOUBLE(d, "ok", 1);
  free(fill);
}

static void serve_one(peer *p) {
  static uint8_t *cached;
  static int32_t cached_size = -1;
  static size_t cached_n;
  uint32_t opcode = get32(p->in + 12), id = get32(p->in + 4);
  size_t at = opcode == OP_QUERY ? HEADER + 4 + strlen((char *)p->in + HEADER + 4) + 1 + 8 : HEADER + 5;
  bson_t doc;
  bson_iter_t it;
  if (!bson_init_static(&doc, p->in + at, get32(p->in + at)) || !bson_iter_init(&it, &doc) || !bson_iter_next(&it))
    exit(2);
  free(p->mine);
  p->mine = NULL;
  if (!strcmp(bson_iter_key(&it), "find") && bson_iter_find(&it, "size")) {
    int32_t size = bson_iter_int32(&it);
    if (size != cached_size) { /* all ask for the same size: made once, stamped for each */
      bson_t d = BSON_INITIALIZER;
      found(&d, size);
      free(cached);
      cached = message(&d, OP_MSG, 7, id, &cached_n);
      cached_size = size;
      bson_destroy(&d);
    }
    if (cached_n <= 65536) {
      p->mine = malloc(cached_n);
      memcpy(p->mine, cached, cached_n);
      put32(p->mine + 8, id);
      p->out = p->mine;
    } else {
      p->out = cached; /* the client does not look at responseTo of large ones */
    }
    p->out_n = cached_n;
  } else {
    bson_t d = BSON_INITIALIZER;
    if (!strcmp(bson_iter_key(&it), "insert")) {
      BSON_APPEND_INT32(&d, "n", 1);
      BSON_APPEND_DOUBLE(&d, "ok", 1);
    } else {
      hello(&d);
    }
    p->out = p->mine = message(&d, opcode == OP_QUERY ? OP_REPLY : OP_MSG, 7, id, &p->out_n);
    bson_destroy(&d);
  }
  p->out_at = 0;
  size_t used = get32(p->in);
  memmove(p->in, p->in + used, p->have -= used);
}

static void drop(peer *p) {
  close(p->fd);
  free(p->in);
  free(p->mine);
  free(p);
}

static _Noreturn void serve(int n, char **ports) {
  for (int i = 0; i < n; i++) {
    peer *l = calloc(1, sizeof *l);
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(ports[i])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    l->greeted = 1; /* a listening one */
    setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(l->fd, (struct sockaddr *)&a, sizeof a) || listen(l->fd, 4096))
      die(ports[i]);
    watch(l, EPOLL_CTL_ADD);
  }
  for (;;) {
    struct epoll_event ev[EVENTS];
    int got = epoll_wait(poller, ev, EVENTS, -1);
    for (int i = 0; i < got; i++) {
      peer *p = ev[i].data.ptr;
      if (p->greeted) {
        int fd = accept4(p->fd, NULL, NULL, SOCK_NONBLOCK), one = 1;
        if (fd < 0)
          continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        peer *c = calloc(1, sizeof *c);
        c->fd = fd;
        watch(c, EPOLL_CTL_ADD);
        continue;
      }
      int e = ev[i].events & EPOLLOUT ? push(p, 1) : 0;
      if (!e && (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
        e = pull(p);
        if (e > 0) {
          serve_one(p);
          e = push(p, 0);
        }
      }
      if (e < 0)
        drop(p);
    }
  }
}

/* ---- the client ---- */

static peer *connect_one(int port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  peer *p = calloc(1, sizeof *p);
  int one = 1;
  p->fd = socket(AF_INET, SOCK_STREAM, 0);
  if (p->fd < 0 || connect(p->fd, (struct sockaddr *)&a, sizeof a))
    die("connect");
  setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  fcntl(p->fd, F_SETFL, O_NONBLOCK);
  watch(p, EPOLL_CTL_ADD);
  return p;
}

static uint8_t *greeting(int i, size_t *n) {
  bson_t d = BSON_INITIALIZER, client, part;
  char name[32];
  snprintf(name, sizeof name, "bench-%d", i);
  BSON_APPEND_INT32(&d, "hello", 1);
  BSON_APPEND_DOCUMENT_BEGIN(&d, "client", &client);
  BSON_APPEND_DOCUMENT_BEGIN(&client, "application", &part);
  BSON_APPEND_UTF8(&part, "name", name);
  bson_append_document_end(&client, &part);
  BSON_APPEND_DOCUMENT_BEGIN(&client, "driver", &part);
  BSON_APPEND_UTF8(&part, "name", "mongo_load");
  BSON_APPEND_UTF8(&part, "version", "1");
  bson_append_document_end(&client, &part);
  bson_append_document_end(&d, &client);
  BSON_APPEND_UTF8(&d, "$db", "admin");
  uint8_t *m = message(&d, OP_MSG, 1, 0, n);
  bson_destroy(&d);
  return m;
}

static uint8_t *request(const char *op, int32_t size, size_t *n) {
  bson_t d = BSON_INITIALIZER, list, doc;
  uint8_t lsid[16] = {1, 2, 3}, *fill = calloc(1, (size_t)size);
  BSON_APPEND_UTF8(&d, op, "c");
  if (!strcmp(op, "find")) {
    BSON_APPEND_INT32(&d, "size", size);
  } else {
    BSON_APPEND_ARRAY_BEGIN(&d, "documents", &list);
    BSON_APPEND_DOCUMENT_BEGIN(&list, "0", &doc);
    BSON_APPEND_BINARY(&doc, "x", BSON_SUBTYPE_BINARY, fill, (uint32_t)size);
    bson_append_document_end(&list, &doc);
    bson_append_array_end(&d, &list);
  }
  BSON_APPEND_DOCUMENT_BEGIN(&d, "lsid", &doc);
  BSON_APPEND_BINARY(&doc, "id", BSON_SUBTYPE_UUID, lsid, sizeof lsid);
  bson_append_document_end(&d, &doc);
  BSON_APPEND_UTF8(&d, "$db", "bench");
  uint8_t *m = message(&d, OP_MSG, 2, 0, n);
  bson_destroy(&d);
  free(fill);
  return m;
}

static int by_size(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static void send_next(peer *p, const uint8_t *m, size_t n) {
  p->out = m;
  p->out_n = n;
  p->out_at = 0;
  p->sent = now();
  if (push(p, 0))
    die("send");
}

static void run(int port, int clients, double seconds, const char *op, int32_t size) {
  size_t n, greet_n;
  uint8_t *m = request(op, size, &n);
  uint64_t *latency = malloc(SAMPLES * sizeof *latency), done = 0, start = 0, end = 0, greeted = 0;
  for (int i = 0; i < clients; i++) {
    const uint8_t *hi = greeting(i, &greet_n);
    send_next(connect_one(port), hi, greet_n);
  }
  while (!end || now() < end) {
    struct epoll_event ev[EVENTS];
    int got = epoll_wait(poller, ev, EVENTS, 5000);
    if (got == 0)
      errno = ETIMEDOUT, die("no reply for 5 s");
    for (int i = 0; i < got; i++) {
      peer *p = ev[i].data.ptr;
      if ((ev[i].events & EPOLLOUT) && push(p, 1))
        die("send");
      int e = pull(p);
      if (e < 0)
        die("the connection has ended");
      if (!e)
        continue;
      size_t least = !p->greeted ? 60 : *op == 'f' ? (size_t)size : 30;
      if (p->have != get32(p->in) || p->have < least || get32(p->in + 12) != OP_MSG)
        errno = EPROTO, die("not the reply that was asked for");
      if (p->greeted) {
        latency[done++ % SAMPLES] = now() - p->sent;
      } else if (++greeted == (uint64_t)clients) {
        start = now();
        end = start + (uint64_t)(seconds * 1e9);
        done = 0;
      }
      p->greeted = 1;
      p->have = 0;
      send_next(p, m, n);
    }
  }
  double took = (double)(now() - start) / 1e9;
  size_t k = done < SAMPLES ? done : SAMPLES;
  qsort(latency, k, sizeof *latency, by_size);
  printf("{\"done\": %llu, \"rps\": %.1f, \"p50_ms\": %.3f, \"p99_ms\": %.3f}\n", (unsigned long long)done, (double)done / took,
         (double)latency[k / 2] / 1e6, (double)latency[k * 99 / 100] / 1e6);
}

static void idle(int port, int clients) {
  char line[16];
  size_t n;
  for (int i = 0; i < clients; i++) {
    peer *p = connect_one(port);
    const uint8_t *hi = greeting(i, &n);
    send_next(p, hi, n);
    int e;
    while (!(e = pull(p)))
      usleep(200);
    if (e < 0)
      die("hello");
  }
  puts("ready");
  fflush(stdout);
  while (fgets(line, sizeof line, stdin))
    ;
}

int main(int argc, char **argv) {
  poller = epoll_create1(EPOLL_CLOEXEC);
  signal(SIGPIPE, SIG_IGN);
  if (argc >= 3 && !strcmp(argv[1], "serve"))
    serve(argc - 2, argv + 2);
  if (argc == 7 && !strcmp(argv[1], "run") && (!strcmp(argv[5], "find") || !strcmp(argv[5], "insert")))
    run(atoi(argv[2]), atoi(argv[3]), atof(argv[4]), argv[5], atoi(argv[6]));
  else if (argc == 4 && !strcmp(argv[1], "idle"))
    idle(atoi(argv[2]), atoi(argv[3]));
  else
    return fprintf(stderr, "usage: see the head of mongo_load.c\n"), 2;
  return 0;
}
