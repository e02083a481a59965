#include "core/upgrade_path.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/run_dir.h"
#include "wire/mongo.h"

char *pt_upgrade_path(const char *path, const char *file) {
  char dir[PATH_MAX], real[PATH_MAX], *out;
  if (path)
    return strdup(path);
  int e = pt_run_dir(dir, sizeof dir);
  if (e) {
    pt_warn("upgrade", "%s: %s: this process cannot be upgraded without a restart; upgrade.socket names another place", dir,
            strerror(-e));
    return NULL;
  }
  if (!realpath(file, real))
    snprintf(real, sizeof real, "%s", file);
  return asprintf(&out, "%s/upgrade-%08x.sock", dir, pt_crc32c((const uint8_t *)real, strlen(real))) < 0 ? NULL : out;
}
