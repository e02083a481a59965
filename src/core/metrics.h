/* What the process has counted, as Prometheus reads it (text format 0.0.4). Control thread. */
#ifndef PT_CORE_METRICS_H
#define PT_CORE_METRICS_H

#include <stdio.h>

#include "core/survey.h"

/* Writes all families; what goes wrong with the stream is the stream's to tell. A new counter of a worker is one line in survey.c. */
void pt_metrics_write(FILE *out, const pt_survey *p);

/* Bytes resident, open descriptors, CPU seconds: of this process, 0 when they cannot be read. */
uint64_t pt_metrics_resident(void);

#endif
