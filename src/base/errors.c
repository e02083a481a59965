#include "base/errors.h"

enum {
  BARE,
  SHOWN
};

const pt_error_info pt_errors[PT_ERRORS] = {
#define X(name, code, class, shown, text, remedy) {code, PT_CLASS_##class, shown == SHOWN, text, remedy},
#include "base/errors.def"
#undef X
};

const char *pt_error_class_name(pt_error_class c) {
  static const char *const names[PT_CLASSES] = {"client", "protocol", "backend", "timeout", "overload", "policy", "internal"};
  return names[c];
}
