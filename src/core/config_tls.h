/* The TLS contexts of a configuration: its files are read when it is loaded, so that what is wrong with them is an error of the configuration. */
#ifndef PT_CORE_CONFIG_TLS_H
#define PT_CORE_CONFIG_TLS_H

#include "core/config.h"

/* Before cfg is published. 0, or -1: *errors (malloc'ed, NULL: no memory) says what is wrong, "file:line: listener ...: tls.key: /path: ..." a line.
 * What is only odd (a certificate that has expired) is logged. */
int pt_config_tls(pt_config *cfg, char **errors);
/* Tickets that clients hold stay good over a reload. Before cfg is published. */
void pt_config_tls_inherit(pt_config *cfg, const pt_config *was);

#endif
