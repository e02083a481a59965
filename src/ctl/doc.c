#include "ctl/doc.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bson_t *pt_doc_parse(const char *json) {
  size_t n = strlen(json) + 16;
  char *whole = malloc(n);
  bson_error_t error;
  if (!whole)
    return NULL;
  while (*json == ' ' || *json == '\n')
    json++;
  snprintf(whole, n, *json == '[' ? "{\"list\":%s}" : "%s", json);
  bson_t *d = bson_new_from_json((const uint8_t *)whole, -1, &error);
  free(whole);
  return d;
}

static bool find(const bson_t *d, bson_iter_t *i, const char *fmt, va_list args) {
  char path[160];
  bson_iter_t top;
  vsnprintf(path, sizeof path, fmt, args);
  return d && bson_iter_init(&top, d) && bson_iter_find_descendant(&top, path, i);
}

static double number(const bson_iter_t *i) {
  return BSON_ITER_HOLDS_DOUBLE(i) ? bson_iter_double(i) : (double)bson_iter_as_int64(i);
}

double pt_doc_number(const bson_t *d, const char *fmt, ...) {
  bson_iter_t i;
  va_list args;
  va_start(args, fmt);
  bool there = find(d, &i, fmt, args);
  va_end(args);
  return there ? number(&i) : 0;
}

bool pt_doc_bool(const bson_t *d, const char *fmt, ...) {
  bson_iter_t i;
  va_list args;
  va_start(args, fmt);
  bool there = find(d, &i, fmt, args);
  va_end(args);
  return there && bson_iter_as_bool(&i);
}

bool pt_doc_has(const bson_t *d, const char *fmt, ...) {
  bson_iter_t i;
  va_list args;
  va_start(args, fmt);
  bool there = find(d, &i, fmt, args);
  va_end(args);
  return there && !BSON_ITER_HOLDS_NULL(&i);
}

char *pt_doc_text(const bson_t *d, char *out, size_t size, const char *fmt, ...) {
  bson_iter_t i;
  va_list args;
  va_start(args, fmt);
  bool there = find(d, &i, fmt, args) && BSON_ITER_HOLDS_UTF8(&i);
  va_end(args);
  snprintf(out, size, "%s", there ? bson_iter_utf8(&i, NULL) : "");
  for (char *p = out; *p; p++)
    if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
      *p = '?';
  return out;
}

unsigned pt_doc_count(const bson_t *d, const char *fmt, ...) {
  bson_iter_t i, in;
  unsigned n = 0;
  va_list args;
  va_start(args, fmt);
  bool there = find(d, &i, fmt, args) && BSON_ITER_HOLDS_ARRAY(&i) && bson_iter_recurse(&i, &in);
  va_end(args);
  while (there && bson_iter_next(&in))
    n++;
  return n;
}

/* ---- latencies ---- */

double pt_doc_percentile(const bson_t *is, const bson_t *was, unsigned listener, double part) {
  unsigned n = pt_doc_count(is, "listeners.%u.latency.counts", listener);
  double last_bound = 0, last = 0;
  if (!n)
    return -1;
#define COUNT(i)                                                                                                                 \
  (pt_doc_number(is, "listeners.%u.latency.counts.%u", listener, i) -                                                            \
   pt_doc_number(was, "listeners.%u.latency.counts.%u", listener, i))
  double all = COUNT(n - 1), want = all * part;
  if (all <= 0)
    return -1;
  for (unsigned i = 0; i + 1 < n; i++) {
    double count = COUNT(i), bound = pt_doc_number(is, "listeners.%u.latency.bounds_us.%u", listener, i);
    if (count >= want && count > last)
      return last_bound + (bound - last_bound) * (want - last) / (count - last);
    last = count;
    last_bound = bound;
  }
#undef COUNT
  return last_bound;
}

/* ---- for people ---- */

char *pt_doc_us(double us, char *out) {
  if (us < 0)
    strcpy(out, "-");
  else if (us < 1000)
    snprintf(out, PT_DOC_HUMAN, "%.0f us", us);
  else if (us < 1e6)
    snprintf(out, PT_DOC_HUMAN, "%.1f ms", us / 1e3);
  else
    snprintf(out, PT_DOC_HUMAN, "%.1f s", us / 1e6);
  return out;
}

char *pt_doc_amount(double v, char *out) {
  const char *unit = "";
  if (v >= 1e9)
    v /= 1e9, unit = "G";
  else if (v >= 1e6)
    v /= 1e6, unit = "M";
  else if (v >= 1e4)
    v /= 1e3, unit = "k";
  snprintf(out, PT_DOC_HUMAN, *unit ? "%.1f%s" : "%.0f%s", v, unit);
  return out;
}

char *pt_doc_bytes(double v, char *out) {
  if (v >= 1024. * 1024 * 1024)
    snprintf(out, PT_DOC_HUMAN, "%.1f GiB", v / (1024. * 1024 * 1024));
  else
    snprintf(out, PT_DOC_HUMAN, "%.1f MiB", v / (1024. * 1024));
  return out;
}

char *pt_doc_time(double seconds, char *out) {
  long s = (long)seconds;
  if (s >= 86400)
    snprintf(out, PT_DOC_HUMAN, "%ldd %ldh", s / 86400, s % 86400 / 3600);
  else if (s >= 3600)
    snprintf(out, PT_DOC_HUMAN, "%ldh %ldm", s / 3600, s % 3600 / 60);
  else if (s >= 60)
    snprintf(out, PT_DOC_HUMAN, "%ldm %lds", s / 60, s % 60);
  else
    snprintf(out, PT_DOC_HUMAN, "%lds", s);
  return out;
}
