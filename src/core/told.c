#include "core/told.h"

#include <stdio.h>

char *pt_told_code(pt_error e, char *out) {
  snprintf(out, PT_TOLD_CODE, " (%s)", pt_errors[e].code);
  return out;
}

void pt_told(pt_worker *w, pt_error e, const char *text) {
  const pt_error_info *i = &pt_errors[e];
  pt_told_count(w, e);
  if (i->shown && i->class != PT_CLASS_CLIENT && i->class != PT_CLASS_PROTOCOL)
    pt_log_every(&w->told[e], PT_LOG_INFO, "error", "%s: clients are told: %s", i->code, text);
}

void pt_told_closed(pt_worker *w, pt_error e, const char *who, const char *reason) {
  char code[PT_TOLD_CODE];
  pt_told_count(w, e);
  w->access.why = reason;
  w->access.error = e;
  pt_log_every(&w->told_closed[e], PT_LOG_INFO, "client", "%s closed: %s%s", who, reason, pt_told_code(e, code));
}
