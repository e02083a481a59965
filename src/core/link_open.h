/* Opening a link: connect, AUTH, HELLO 3, READONLY for a replica; requests wait in the log until the node has agreed. */
#ifndef PT_CORE_LINK_OPEN_H
#define PT_CORE_LINK_OPEN_H

#include "core/link.h"

/* Starts to connect. On failure the node fails fast (pt_link_cut does that). */
void pt_link_open(pt_link *l);

#endif
