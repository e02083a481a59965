#include "core/admit.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/errors.h"
#include "core/door.h"

enum {
  SPARE_FILES = 64 /* for connections to backends, probes, the log, the next configuration */
};

const char *const pt_limit_names[PT_LIMITS] = {"none",           "denied",     "max_connections", "listener_max_connections",
                                               "max_per_source", "open_files", "memory"};

bool pt_admit_allows(const pt_listener_config *lc, const uint8_t ip[16]) {
  return !pt_cidr_any(lc->deny, lc->ndeny, ip) && (!lc->nallow || pt_cidr_any(lc->allow, lc->nallow, ip));
}

static unsigned prefix(const pt_listener_config *lc, const uint8_t ip[16]) {
  return pt_cidr_is_v4(ip) ? 96 + lc->source_v4 : lc->source_v6;
}

static unsigned spare_files(const pt_doors *d) { return d->files / 8 < SPARE_FILES ? (unsigned)d->files / 8 : SPARE_FILES; }

/* The kernel gives the lowest free descriptor, so one so high says that all below are taken. */
static bool last_files(const pt_doors *d, int fd) { return (unsigned long long)fd + spare_files(d) >= d->files; }

pt_limit pt_admit(pt_door *door, int fd, const pt_address *from, pt_source **source) {
  const pt_doors *d = door->all;
  const pt_listener_config *lc = &d->cfg->listeners[door->listener];
  uint8_t ip[16];
  pt_cidr_ip(from, ip);
  /* One who tells the address of its client in a PROXY header stands for many: that address is looked at when it is known. */
  bool relay = lc->mongo && pt_cidr_any(lc->mongo->trusted, lc->mongo->ntrusted, ip);
  *source = NULL;
  if (!relay && !pt_admit_allows(lc, ip))
    return PT_LIMIT_DENIED;
  if (d->cfg->max_connections && pt_doors_clients(d) >= d->cfg->max_connections)
    return PT_LIMIT_PROCESS;
  if (lc->max_connections && pt_door_clients(door) >= lc->max_connections)
    return PT_LIMIT_LISTENER;
  if (last_files(d, fd))
    return PT_LIMIT_FILES;
  if (pt_memory_scarce(d->memory))
    return PT_LIMIT_MEMORY;
  if (relay)
    return PT_LIMIT_NONE;
  unsigned bits = prefix(lc, ip);
  pt_cidr_mask(ip, bits);
  int e = pt_sources_enter(door->admission.sources, ip, bits, lc->max_per_source, source);
  return e == -EDQUOT ? PT_LIMIT_SOURCE : e ? PT_LIMIT_MEMORY : PT_LIMIT_NONE;
}

pt_source *pt_admit_arrived(pt_door *door, const pt_address *from) {
  const pt_listener_config *lc = &door->all->cfg->listeners[door->listener];
  pt_source *source = NULL;
  uint8_t ip[16];
  pt_cidr_ip(from, ip);
  if (lc->mongo && pt_cidr_any(lc->mongo->trusted, lc->mongo->ntrusted, ip))
    return NULL;
  unsigned bits = prefix(lc, ip);
  pt_cidr_mask(ip, bits);
  return pt_sources_enter(door->admission.sources, ip, bits, 0, &source) ? NULL : source;
}

/* What the limit is, and the way out. */
static void explain(const pt_door *door, pt_limit limit, const pt_address *from, char *out, size_t cap) {
  const pt_doors *d = door->all;
  const pt_listener_config *lc = &d->cfg->listeners[door->listener];
  char range[PT_ADDRESS_TEXT];
  uint8_t ip[16];
  pt_cidr_ip(from, ip);
  unsigned bits = prefix(lc, ip);
  pt_cidr_mask(ip, bits);
  switch (limit) {
  case PT_LIMIT_DENIED:
    snprintf(out, cap, "its address is not let in (allow, deny)");
    break;
  case PT_LIMIT_PROCESS:
    snprintf(out, cap, "%u clients are connected; raise max_connections = %u in puerta.config", pt_doors_clients(d),
             d->cfg->max_connections);
    break;
  case PT_LIMIT_LISTENER:
    snprintf(out, cap, "%u clients of this listener are connected; raise its max_connections = %u", pt_door_clients(door),
             lc->max_connections);
    break;
  case PT_LIMIT_SOURCE:
    snprintf(out, cap, "%s has %u connections already; raise max_per_source, or see source_prefix",
             pt_cidr_format(ip, bits, range), lc->max_per_source);
    break;
  case PT_LIMIT_FILES:
    snprintf(out, cap, "all but %u of %llu open files are in use; raise LimitNOFILE (ulimit -n)", spare_files(d), d->files);
    break;
  default:
    snprintf(out, cap, "memory is scarce; raise memory.max, or give the machine more");
  }
}

void pt_admit_refuse(pt_door *door, pt_limit limit, int fd, const pt_address *from) {
  static const char told[] = "-ERR max number of clients reached\r\n";
  pt_admission *a = &door->admission;
  char where[PT_ADDRESS_TEXT], why[256];
  const pt_listener_config *lc = &door->all->cfg->listeners[door->listener];
  if (limit != PT_LIMIT_DENIED && lc->kind == PT_LISTENER_REDIS && !lc->tls) {
    char unread[4096]; /* closing with bytes unread would take the answer back */
    if (send(fd, told, sizeof told - 1, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
      (void)!recv(fd, unread, sizeof unread, MSG_DONTWAIT);
  }
  close(fd);
  atomic_fetch_add_explicit(&a->refused[limit], 1, memory_order_relaxed);
  explain(door, limit, from, why, sizeof why);
  pt_log_every(&a->rates[limit], PT_LOG_WARN, "limit", "%s: %s refused: %s (%s)", door->name,
               pt_address_format(from, where, sizeof where), why,
               pt_errors[limit == PT_LIMIT_DENIED   ? PT_E_DENIED
                         : limit == PT_LIMIT_MEMORY ? PT_E_SCARCE
                                                    : PT_E_TOO_MANY_CLIENTS]
                   .code);
}
