/* The replies of a link: finds where each ends and gives it to the oldest waiting request. */
#ifndef PT_CORE_LINK_REPLY_H
#define PT_CORE_LINK_REPLY_H

#include "core/link.h"

/* The socket is readable: reads once, passes on every reply in it. May cut the link. */
void pt_link_read(pt_link *l);

#endif
