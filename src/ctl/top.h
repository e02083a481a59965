/* `puerta ctl top`: a live view of a puerta in the terminal. */
#ifndef PT_CTL_TOP_H
#define PT_CTL_TOP_H

#include <stdbool.h>

#include "ctl/ask.h"

/* once: one frame, of one second, for pipes and tests. Until q, an interrupt or the end of the server. The exit code. */
int pt_ctl_top(const pt_ctl_server *s, bool once);

#endif
