/* Where the session table lies: a file in memory that another process can map, sealed so that it cannot shrink under us. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sessions_table.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif

enum {
  PAGE = 4096, /* of the layout, whatever the machine's are */
  SKEW = 67 * PAGE, /* between shards, or the pages in use of all of them would compete for the same few places of the TLB */
  SEALS = F_SEAL_SHRINK | F_SEAL_GROW,
  PATIENCE_MS = 2000 /* for the lock of a table from elsewhere */
};

static const uint64_t MAGIC = 0x736e6f6973736573; /* "sessions" */

static size_t head_size(void) { return (sizeof(pt_table) + PAGE - 1) / PAGE * PAGE; }

/* From one shard's buckets or nodes to the next one's. */
static size_t stride(uint32_t reach, size_t of) { return reach * of + SKEW; }

static size_t size_for(uint32_t reach) {
  return head_size() + SHARDS * (stride(reach, sizeof(uint32_t)) + stride(reach, sizeof(node)));
}

/* Entries that fit however the hashes fall. */
static size_t room_for(uint32_t reach) { return (size_t)SHARDS * reach / 4 * 3; }

int pt_sessions_back(const pt_sessions *t, const void *part, size_t n) {
  int rc = 0;
  while (t->fd >= 0 && (rc = fallocate(t->fd, 0, (const char *)part - (const char *)t->table, (off_t)n)) && errno == EINTR)
    ;
  return rc ? -errno : 0;
}

/* Maps fd (-1: memory of our own) and takes it over. NULL with errno: fd is as it was. */
static pt_sessions *map(int fd, uint32_t reach) {
  size_t size = size_for(reach);
  pt_sessions *t = calloc(1, sizeof *t);
  void *at =
      !t ? MAP_FAILED
         : mmap(NULL, size, PROT_READ | PROT_WRITE, fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) {
    free(t);
    return NULL;
  }
  madvise(at, size, MADV_DONTDUMP); /* a core would fill the holes */
  t->table = at;
  t->fd = fd;
  t->size = size;
  t->reach = reach;
  char *buckets = (char *)at + head_size(), *nodes = buckets + SHARDS * stride(reach, sizeof(uint32_t));
  for (unsigned k = 0; k < SHARDS; k++)
    t->shards[k] = (shard){&t->table->shards[k], (uint32_t *)(buckets + k * stride(reach, sizeof(uint32_t))),
                           (node *)(nodes + k * stride(reach, sizeof(node)))};
  pthread_rwlockattr_t attr;
  pthread_rwlockattr_init(&attr);
  pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
  pthread_rwlock_init(&t->crossing, &attr);
  pthread_rwlockattr_destroy(&attr);
  return t;
}

static void unmap(pt_sessions *t) {
  pthread_rwlock_destroy(&t->crossing);
  munmap(t->table, t->size);
  if (t->fd >= 0)
    close(t->fd);
  free(t);
}

/* -1: refused. Asked first: a file above the limit means SIGXFSZ. */
static int sparse_file(size_t size) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_FSIZE, &limit) || limit.rlim_cur < size)
    return -1;
  int fd = memfd_create("puerta-sessions", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
  if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
    fd = memfd_create("puerta-sessions", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd >= 0 && (ftruncate(fd, (off_t)size) || fcntl(fd, F_ADD_SEALS, SEALS))) {
    close(fd);
    fd = -1;
  }
  return fd;
}

static void init_lock(pthread_mutex_t *lock) {
  pthread_mutexattr_t attr;
  pthread_mutexattr_init(&attr);
  pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(lock, &attr);
  pthread_mutexattr_destroy(&attr);
}

static pt_sessions *map_new(uint32_t reach) {
  int fd = sparse_file(size_for(reach));
  pt_sessions *t = map(fd, reach);
  if (!t && fd >= 0)
    close(fd);
  return t;
}

pt_sessions *pt_sessions_new(size_t max, uint64_t timeout_ms) {
  uint32_t reach = REACH;
  pt_sessions *t;
  while (!(t = map_new(reach)) && room_for(reach / 2) >= max && reach / 2 >= FIRST_NODES) /* ulimit -v */
    reach /= 2;
  if (!t)
    return NULL;
  pt_table *head = t->table;
  if (pt_sessions_back(t, head, head_size()) || pt_random(head->secret, sizeof head->secret)) {
    unmap(t);
    return NULL;
  }
  head->magic = MAGIC;
  head->version = PT_TABLE_VERSION;
  head->size = sizeof *head;
  head->reach = reach;
  memcpy(t->secret, head->secret, sizeof t->secret);
  for (unsigned k = 0; k < SHARDS; k++)
    init_lock(&head->shards[k].lock);
  atomic_store(&head->party[t->party], 1);
  pt_sessions_configure(t, max, timeout_ms);
  return t;
}

void pt_sessions_free(pt_sessions *t) {
  if (!t)
    return;
  if (t->fd >= 0)
    pt_sessions_give_up(t, t->party);
  atomic_store(&t->table->party[t->party], 0);
  unmap(t);
}

void pt_sessions_configure(pt_sessions *t, size_t max, uint64_t timeout_ms) {
  size_t room = room_for(t->reach);
  atomic_store(&t->table->max, max > room ? room : max ? max : 1);
  atomic_store(&t->table->timeout, timeout_ms);
}

int pt_sessions_fd(const pt_sessions *t) { return t->fd < 0 ? -ENOTSUP : t->fd; }

/* ---- a table from elsewhere ---- */

/* What the file says it is, before it is mapped. */
static int read_head(int fd, uint32_t *reach) {
  struct stat st;
  pt_table head;
  int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) || pread(fd, &head, sizeof head, 0) != sizeof head)
    return -EPROTO;
  if (head.magic != MAGIC || head.version != PT_TABLE_VERSION || head.size != sizeof head || head.reach < FIRST_NODES ||
      head.reach > REACH || (head.reach & (head.reach - 1)) || (size_t)st.st_size != size_for(head.reach))
    return -EPROTO;
  *reach = head.reach;
  return 0;
}

static int check_shard(pt_sessions *t, shard *s, int kind) {
  if (s->head->lock.__data.__kind != kind) /* no lock at all */
    return -EPROTO;
  int rc = pt_shard_wait(s, PATIENCE_MS);
  if (rc && rc != EOWNERDEAD)
    return rc == ETIMEDOUT ? -ETIMEDOUT : -EPROTO;
  bool good = pt_sessions_bounded(t, s);
  if (rc == EOWNERDEAD) {
    if (good)
      pt_sessions_rebuild(t, s);
    pthread_mutex_consistent(&s->head->lock);
  }
  good = good && pt_sessions_fits(t, s);
  pt_shard_unlock(s);
  return good ? 0 : -EPROTO;
}

static int check_shards(pt_sessions *t) {
  pthread_mutex_t model;
  int rc = 0;
  init_lock(&model);
  for (unsigned k = 0; k < SHARDS && !rc; k++)
    rc = check_shard(t, &t->shards[k], model.__data.__kind);
  pthread_mutex_destroy(&model);
  return rc;
}

static int enter(pt_sessions *t) {
  for (t->party = 0; t->party < 2; t->party++) {
    unsigned nobody = 0;
    if (atomic_compare_exchange_strong(&t->table->party[t->party], &nobody, 1))
      return 0;
  }
  return -EBUSY;
}

int pt_sessions_attach(int fd, pt_sessions **out) {
  uint32_t reach;
  int rc = read_head(fd, &reach);
  pt_sessions *t = rc ? NULL : map(fd, reach);
  if (!t) {
    rc = rc ? rc : errno == ENOMEM ? -ENOMEM : -EPROTO; /* a file for reading only cannot be mapped */
    close(fd);
    return rc;
  }
  memcpy(t->secret, t->table->secret, sizeof t->secret);
  if (!(rc = enter(t)) && (rc = check_shards(t)))
    atomic_store(&t->table->party[t->party], 0);
  if (rc)
    unmap(t);
  else
    *out = t;
  return rc;
}
