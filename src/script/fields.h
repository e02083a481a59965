/* From the validated tree, as lua/puerta/config.lua makes it, into C structs. What is read is on top of the stack and stays there. Everything is there
 * and has its range: the schema saw to that. The one error, no memory, is raised. */
#ifndef PT_SCRIPT_FIELDS_H
#define PT_SCRIPT_FIELDS_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/config.h"

typedef enum pt_field_type {
  PT_FIELD_TEXT, /* char *, owned by the struct */
  PT_FIELD_UINT, /* unsigned */
  PT_FIELD_U64, /* uint64_t */
  PT_FIELD_BOOL /* bool */
} pt_field_type;

/* A field of the struct at base + at; group: the table it is in, NULL: this one. A field that is absent stays as it is. */
typedef struct pt_field {
  const char *group, *name;
  pt_field_type type;
  size_t at;
} pt_field;

/* An array of fields ends with name == NULL. */
void pt_fields_read(lua_State *L, const pt_field *fields, void *base);
/* A list of n zeroed elements for the list on the stack; *n is the number of those that may be freed. */
void *pt_fields_alloc(lua_State *L, unsigned *n, size_t size);
/* The list named, into the array at *to: an element of `size` bytes each, read by element(). Absent: *to stays. */
void pt_fields_list(lua_State *L, const char *name, void *to, unsigned *n, size_t size, void (*element)(lua_State *, void *));
#define PT_FIELDS_LIST(L, name, array, n, element) pt_fields_list(L, name, &(array), &(n), sizeof *(array), element)
/* { host =, port = } */
void pt_fields_hostport(lua_State *L, pt_hostport *a);
char *pt_fields_copy(lua_State *L, const char *s);
/* { host = numeric, bits = }, into a pt_cidr. */
void pt_fields_cidr(lua_State *L, void *cidr);
/* The field named is this word. */
bool pt_fields_is(lua_State *L, const char *name, const char *word);

/* "file:line" of what has a line. */
char *pt_fields_where(lua_State *L, const char *file);

/* The options tls and backend_tls of a listener (script/config_tls.c). */
void pt_fields_tls(lua_State *L, const char *file, pt_listener_config *l);
/* The options of puerta.mongodb (script/config_mongo.c). */
void pt_fields_mongo(lua_State *L, pt_mongo_config *m);

#endif
