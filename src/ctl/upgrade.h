/* `puerta ctl upgrade`: has the running puerta start the process that replaces it, and waits until that one serves. */
#ifndef PT_CTL_UPGRADE_H
#define PT_CTL_UPGRADE_H

#include "ctl/ask.h"

/* binary: its path; NULL: what now stands where the running one's was. The exit code; it tells on stdout or stderr what became of it. */
int pt_ctl_upgrade(const pt_ctl_server *s, const char *binary);

#endif
