/* What the admin server answers, as a document to look things up in. */
#ifndef PT_CTL_DOC_H
#define PT_CTL_DOC_H

#include <bson/bson.h>
#include <stdbool.h>

/* Text of JSON, an object or a list (whose elements are then under "list"). NULL: it is none. bson_destroy frees it. */
bson_t *pt_doc_parse(const char *json);

/* At a path like "listeners.0.nodes.3.inflight" (printf). A number, 0: not there. */
double pt_doc_number(const bson_t *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool pt_doc_bool(const bson_t *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A copy for the terminal (nothing in it that would steer it), at most size - 1 bytes; "": not there. Returns out. */
char *pt_doc_text(const bson_t *d, char *out, size_t size, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* There is something, and it is not null. */
bool pt_doc_has(const bson_t *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Elements of a list, 0: not there. */
unsigned pt_doc_count(const bson_t *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The latency (us) below which the part (0..1) of a listener's requests lies, of those answered since was (NULL: since the start); -1: there were none. */
double pt_doc_percentile(const bson_t *is, const bson_t *was, unsigned listener, double part);

/* "850 us", "1.2 ms", "-"; "12.3k"; "45.1 MiB"; "3h 12m". Each into out[PT_DOC_HUMAN]; returns out. */
enum {
  PT_DOC_HUMAN = 24
};
char *pt_doc_us(double us, char *out);
char *pt_doc_amount(double v, char *out);
char *pt_doc_bytes(double v, char *out);
char *pt_doc_time(double seconds, char *out);

#endif
