#include "core/config_tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

enum {
  TEXT = 1024 /* of one error */
};

/* One side of a listener; a line more in out when it fails. */
static int make(const pt_listener_config *l, const char *side, const pt_tls_options *o, pt_tls_context **made, FILE *out) {
  char why[TEXT] = "", odd[TEXT] = "";
  if (!o)
    return 0;
  *made = pt_tls_context_new(o, why, sizeof why, odd, sizeof odd);
  if (!*made)
    fprintf(out, "%s: listener \"%s\": %s.%s\n", o->where, l->name, side, why);
  else if (*odd)
    pt_warn("tls", "%s: listener \"%s\": %s.%s", o->where, l->name, side, odd);
  if (*made && !o->server && o->verify == PT_TLS_VERIFY_NONE)
    pt_warn("tls", "%s: listener \"%s\": %s.verify is off: whoever answers at a backend's address is believed", o->where, l->name,
            side);
  return !*made;
}

int pt_config_tls(pt_config *cfg, char **errors) {
  size_t n;
  int bad = 0;
  *errors = NULL;
  FILE *out = open_memstream(errors, &n);
  if (!out)
    return -1;
  for (unsigned i = 0; i < cfg->nlisteners; i++) {
    pt_listener_config *l = &cfg->listeners[i];
    bad += make(l, "tls", l->tls_options, &l->tls, out);
    bad += make(l, "backend_tls", l->backend_tls_options, &l->backend_tls, out);
  }
  if (bad)
    fprintf(out, "%d error%s; configuration not applied", bad, bad == 1 ? "" : "s");
  fclose(out);
  if (!bad) {
    free(*errors);
    *errors = NULL;
  }
  return bad ? -1 : 0;
}

void pt_config_tls_inherit(pt_config *cfg, const pt_config *was) {
  for (unsigned i = 0; i < cfg->nlisteners && i < was->nlisteners; i++) {
    const pt_listener_config *old = &was->listeners[i];
    if (cfg->listeners[i].tls && old->tls && !strcmp(cfg->listeners[i].name, old->name))
      pt_tls_context_inherit(cfg->listeners[i].tls, old->tls);
  }
}
