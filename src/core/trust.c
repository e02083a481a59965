#include "core/trust.h"

#include "core/told.h"

enum {
  SUSPEND_MS = 10000,
  SECOND_MS = 1000,
  SUSPEND_PERCENT = 10,
  FEW = 100 /* calls that say nothing yet */
};

void pt_trust_failed(pt_trust *t, pt_worker *w, const char *name, const char *error, uint64_t calls, uint64_t failures) {
  pt_count(&w->n.policy_failures);
  pt_told_count(w, PT_E_POLICY_FAILED);
  pt_log_every(&w->told[PT_E_POLICY_FAILED], PT_LOG_WARN, "policy", "%s: %s (%s)", name, error,
               pt_errors[PT_E_POLICY_FAILED].code);
  if (w->now - t->second > (uint64_t)SECOND_MS * PT_NS_PER_MS) {
    t->second = w->now;
    t->calls = calls;
    t->failures = failures;
    return;
  }
  uint64_t asked = calls - t->calls, bad = failures - t->failures;
  if (asked >= FEW && bad * 100 > asked * SUSPEND_PERCENT) {
    t->suspended_until = w->now + (uint64_t)SUSPEND_MS * PT_NS_PER_MS;
    pt_count(&w->n.suspensions);
    pt_told_count(w, PT_E_POLICY_SUSPENDED);
    pt_warn("policy", "%s: suspended for 10 s: %llu of %llu calls failed (%s)", name, (unsigned long long)bad,
            (unsigned long long)asked, pt_errors[PT_E_POLICY_SUSPENDED].code);
  }
}
