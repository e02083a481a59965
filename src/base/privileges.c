#include "base/privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int find(const char *user, const char *group, uid_t *uid, gid_t *gid, char *err, size_t errsize) {
  errno = 0;
  const struct passwd *u = getpwnam(user);
  if (!u) {
    int e = errno ? errno : ENOENT;
    snprintf(err, errsize, "user \"%s\": %s", user, errno ? strerror(errno) : "there is no such user on this machine");
    return -e;
  }
  *uid = u->pw_uid;
  *gid = u->pw_gid;
  errno = 0;
  const struct group *g = group ? getgrnam(group) : NULL;
  if (group && !g) {
    int e = errno ? errno : ENOENT;
    snprintf(err, errsize, "group \"%s\": %s", group, errno ? strerror(errno) : "there is no such group on this machine");
    return -e;
  }
  if (g)
    *gid = g->gr_gid;
  return 0;
}

static int no_capabilities(void) {
  struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct none[2] = {{0}}, left[2] = {{1, 1, 1}};
  if (syscall(SYS_capset, &head, none) || syscall(SYS_capget, &head, left))
    return -errno;
  return memcmp(left, none, sizeof none) == 0 ? 0 : -EPERM;
}

/* What was asked for is what is, and there is no way back. */
static int verify(uid_t uid, gid_t gid) {
  uid_t r, e, s;
  gid_t gr, ge, gs;
  if (getresuid(&r, &e, &s) || getresgid(&gr, &ge, &gs) || r != uid || e != uid || s != uid || gr != gid || ge != gid ||
      gs != gid)
    return -EPERM;
  return setuid(0) == 0 || seteuid(0) == 0 ? -EPERM : 0;
}

int pt_privileges_drop(const char *user, const char *group, char *err, size_t errsize) {
  uid_t uid = 0;
  gid_t gid = 0;
  int e = find(user, group, &uid, &gid, err, errsize);
  if (e)
    return e;
  if (geteuid() == uid && getegid() == gid && uid != 0)
    return 0;
  if (geteuid() != 0 || uid == 0) {
    snprintf(err, errsize,
             uid == 0 ? "user \"%s\" is root: name somebody who may do less" : "user \"%s\": only root can become somebody else",
             user);
    return -EPERM;
  }
  if (initgroups(user, gid) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
    e = -errno;
  if (!e)
    e = no_capabilities();
  if (!e)
    e = verify(uid, gid);
  if (!e && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    e = -errno;
  prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* as if started by that user: /proc/self is ours again, and a crash may leave a core */
  if (e)
    snprintf(err, errsize, "cannot become user \"%s\": %s", user, strerror(-e));
  return e ? e : 1;
}
