/* Answers of the admin server as tables for people. */
#ifndef PT_CTL_SHOW_H
#define PT_CTL_SHOW_H

#include <bson/bson.h>
#include <stdio.h>

void pt_show_status(FILE *out, const bson_t *d); /* of /status; the others of their own paths */
void pt_show_backends(FILE *out, const bson_t *d);
void pt_show_sessions(FILE *out, const bson_t *d);
void pt_show_slots(FILE *out, const bson_t *d);
void pt_show_slow(FILE *out, const bson_t *d);

/* A frame of `top`: what has happened between two answers of /status, within rows lines (0: all) and columns. */
void pt_show_top(FILE *out, const bson_t *is, const bson_t *was, unsigned rows, unsigned columns);

#endif
