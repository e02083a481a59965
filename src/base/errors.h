/* The errors that puerta itself gives, classified in one place: errors.def has for each its code, class, text and remedy. The code is in the log, in a
 * counter of each worker, and in what clients are told (core/told.h). Constants; any thread. */
#ifndef PT_BASE_ERRORS_H
#define PT_BASE_ERRORS_H

#include <stdbool.h>

typedef enum pt_error_class {
  PT_CLASS_CLIENT,
  PT_CLASS_PROTOCOL,
  PT_CLASS_BACKEND,
  PT_CLASS_TIMEOUT,
  PT_CLASS_OVERLOAD,
  PT_CLASS_POLICY,
  PT_CLASS_INTERNAL,
  PT_CLASSES
} pt_error_class;

typedef enum pt_error {
#define X(name, code, class, shown, text, remedy) PT_E_##name,
#include "base/errors.def"
#undef X
  PT_ERRORS
} pt_error;

typedef struct pt_error_info {
  const char *code; /* "PT-B02" */
  pt_error_class class;
  bool shown; /* a Redis client sees the code */
  const char *text, *remedy; /* a sentence each */
} pt_error_info;

extern const pt_error_info pt_errors[PT_ERRORS];

/* "client", "backend", ... */
const char *pt_error_class_name(pt_error_class c);

#endif
