/* From root to somebody who may do less, for good. Before there are threads that do more than wait. */
#ifndef PT_BASE_PRIVILEGES_H
#define PT_BASE_PRIVILEGES_H

#include <stddef.h>

/* Becomes user (with its supplementary groups) and group (NULL: the user's own): group ids, user ids, no capabilities, and no way back, all of it looked at
 * afterwards. 1: done; 0: we were that user already; -errno with what is wrong in err: the process must end then, since it may be half-way. */
int pt_privileges_drop(const char *user, const char *group, char *err, size_t errsize);

#endif
