/* Writes JSON into a stream, with the commas where they belong. Any thread; a writer belongs to one. What goes wrong with the stream is the stream's to tell
 * (ferror). Text that is not UTF-8 and control characters are escaped or replaced by U+FFFD.
 */
#ifndef PT_BASE_JSON_H
#define PT_BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct pt_json {
  FILE *out;
  bool more; /* a value stands before the next one */
} pt_json;

/* key: NULL inside of a list, and for the whole. bracket: '{' or '['. */
void pt_json_open(pt_json *j, const char *key, char bracket);
void pt_json_close(pt_json *j, char bracket); /* '}' or ']' */
void pt_json_text(pt_json *j, const char *key, const char *text);
void pt_json_number(pt_json *j, const char *key, uint64_t v);
void pt_json_real(pt_json *j, const char *key, double v);
void pt_json_bool(pt_json *j, const char *key, bool v);
void pt_json_null(pt_json *j, const char *key);

#endif
