/* What the process does, as JSON: for the page, for `puerta ctl` and for scripts. No keys, no values, no secrets. Control thread.
 *
 * Written in C and not by cjson: every figure lies in a C cell, so a Lua state would only carry numbers from here to a printer.
 */
#ifndef PT_CORE_STATUS_H
#define PT_CORE_STATUS_H

#include <stdio.h>

#include "core/survey.h"

void pt_status_write(FILE *out, const pt_survey *p); /* the whole, without the log */
void pt_status_backends(FILE *out, const pt_survey *p); /* a list of nodes and backends of all listeners */
void pt_status_sessions(FILE *out, const pt_survey *p); /* entries of the session tables, by backend */
void pt_status_slots(FILE *out, const pt_survey *p); /* who owns which slots */
void pt_status_slow(FILE *out, const pt_survey *p); /* the slow requests, newest first */

#endif
