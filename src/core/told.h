/* What clients are told when something goes wrong: counted by code in the worker, and in the log, a line a second of each code and worker. Errors of
 * clients and of their protocol are their own business: those are logged when they cost a connection only. Worker's thread. */
#ifndef PT_CORE_TOLD_H
#define PT_CORE_TOLD_H

#include "base/errors.h"
#include "core/worker.h"

enum {
  PT_TOLD_CODE = 12 /* " (PT-B02)" and a NUL */
};

static inline void pt_told_count(pt_worker *w, pt_error e) { pt_count(&w->errors[e]); }

/* A client gets an error. text: as it is told, with a code or not; it is logged only when the code is a shown one, so never with keys or values in it. */
void pt_told(pt_worker *w, pt_error e, const char *text);
/* A connection is closed. who: the client, as the log names it. */
void pt_told_closed(pt_worker *w, pt_error e, const char *who, const char *reason);

/* Writes " (PT-B02)" into out, of PT_TOLD_CODE bytes, and returns it. */
char *pt_told_code(pt_error e, char *out);

#endif
