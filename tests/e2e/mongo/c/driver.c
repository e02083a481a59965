/* libmongoc. Usage: driver URI DATABASE DOCUMENTS.json. As node/driver.js. Exit 1 and the reason at the first difference. */
#include <mongoc/mongoc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  NUMBERS = 10000,
  BIG = 40,
  BIG_SIZE = 1000000
};

static bson_error_t error;

#define CHECK(x)                                                                                                                 \
  do {                                                                                                                           \
    if (!(x)) {                                                                                                                  \
      fprintf(stderr, "line %d: %s: %s\n", __LINE__, #x, error.message);                                                         \
      exit(1);                                                                                                                   \
    }                                                                                                                            \
  } while (0)

static mongoc_client_t *client;
static mongoc_client_session_t *session;
static const char *name;

/* A new document; freed by the caller. */
static bson_t *json(const char *text) {
  bson_t *b = bson_new_from_json((const uint8_t *)text, -1, &error);
  CHECK(b);
  return b;
}

/* Options: the text, and the session. */
static bson_t *options(const char *text) {
  bson_t *b = json(text);
  CHECK(mongoc_client_session_append(session, b, &error));
  return b;
}

static mongoc_cursor_t *find(mongoc_collection_t *c, const char *filter, const char *opts) {
  bson_t *f = json(filter), *o = options(opts);
  mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(c, f, o, NULL);
  bson_destroy(f);
  bson_destroy(o);
  return cursor;
}

static int32_t field(const bson_t *b, const char *key) {
  bson_iter_t it;
  CHECK(bson_iter_init_find(&it, b, key));
  return (int32_t)bson_iter_as_int64(&it);
}

/* Its end must have come, without an error. */
static void end(mongoc_cursor_t *cursor) {
  const bson_t *b;
  CHECK(!mongoc_cursor_more(cursor) || !mongoc_cursor_next(cursor, &b));
  CHECK(!mongoc_cursor_error(cursor, &error));
  mongoc_cursor_destroy(cursor);
}

/* There must be one more document. */
static const bson_t *next(mongoc_cursor_t *cursor) {
  const bson_t *b = NULL;
  bool there = mongoc_cursor_next(cursor, &b);
  CHECK(!mongoc_cursor_error(cursor, &error));
  CHECK(there);
  return b;
}

static void insert(mongoc_collection_t *c, bson_t **docs, int n) {
  bson_t *o = options("{}"), reply;
  CHECK(mongoc_collection_insert_many(c, (const bson_t **)docs, (size_t)n, o, &reply, &error));
  CHECK(field(&reply, "insertedCount") == n);
  bson_destroy(&reply);
  bson_destroy(o);
}

static void backend(void) {
  mongoc_collection_t *c = mongoc_client_get_collection(client, "where", "marker");
  mongoc_cursor_t *cursor = find(c, "{}", "{}");
  bson_iter_t it;
  CHECK(bson_iter_init_find(&it, next(cursor), "backend"));
  printf("backend %s\n", bson_iter_utf8(&it, NULL));
  end(cursor);
  mongoc_collection_destroy(c);
}

static void cursors(mongoc_collection_t *c) {
  static bson_t *docs[NUMBERS];
  for (int i = 0; i < NUMBERS; i++) {
    char text[32];
    snprintf(text, sizeof text, "number %d", i);
    docs[i] = BCON_NEW("_id", BCON_INT32(i), "group", BCON_INT32(i % 10), "text", BCON_UTF8(text));
  }
  insert(c, docs, NUMBERS);
  mongoc_cursor_t *all = find(c, "{}", "{\"batchSize\": 500, \"sort\": {\"_id\": 1}}");
  mongoc_cursor_t *some = find(c, "{\"group\": 7}", "{\"batchSize\": 37, \"sort\": {\"_id\": 1}}");
  for (int i = 0; i < NUMBERS; i++) { /* two cursors in turns */
    CHECK(bson_equal(next(all), docs[i]));
    if (i % 10 == 7)
      CHECK(bson_equal(next(some), docs[i]));
    bson_destroy(docs[i]);
  }
  end(all);
  end(some);
  mongoc_cursor_t *unread = find(c, "{}", "{\"batchSize\": 2}");
  next(unread);
  mongoc_cursor_destroy(unread); /* killCursors */
}

static void change_one(mongoc_collection_t *c) {
  bson_t *filter = json("{\"_id\": 4}"), *update = json("{\"$inc\": {\"group\": 1}}"), *o = options("{}"), reply;
  bson_t *want = BCON_NEW("_id", BCON_INT32(4), "group", BCON_INT32(5), "text", "number 4", "seen", BCON_BOOL(true));
  mongoc_find_and_modify_opts_t *how = mongoc_find_and_modify_opts_new();
  CHECK(mongoc_find_and_modify_opts_set_update(how, update) && mongoc_find_and_modify_opts_append(how, o));
  CHECK(mongoc_find_and_modify_opts_set_flags(how, MONGOC_FIND_AND_MODIFY_RETURN_NEW));
  CHECK(mongoc_collection_find_and_modify_with_opts(c, filter, how, &reply, &error));
  bson_iter_t it;
  const uint8_t *data;
  uint32_t len;
  CHECK(bson_iter_init_find(&it, &reply, "value"));
  bson_iter_document(&it, &len, &data);
  CHECK(len == want->len && !memcmp(data, bson_get_data(want), len));
  mongoc_find_and_modify_opts_destroy(how);
  bson_destroy(&reply);
  bson_destroy(want);
  bson_destroy(filter);
  bson_destroy(update);
  bson_destroy(o);
}

static void changes(mongoc_collection_t *c) {
  bson_t *pipeline = json("{\"pipeline\": [{\"$match\": {\"group\": {\"$lt\": 5}}}, {\"$group\": {\"_id\": \"$group\", \"n\": "
                          "{\"$sum\": 1}}}, {\"$sort\": {\"_id\": 1}}]}");
  bson_t *o = options("{\"batchSize\": 2}"), reply;
  mongoc_cursor_t *cursor = mongoc_collection_aggregate(c, MONGOC_QUERY_NONE, pipeline, o, NULL);
  for (int i = 0; i < 5; i++) {
    const bson_t *b = next(cursor);
    CHECK(field(b, "_id") == i && field(b, "n") == NUMBERS / 10);
  }
  end(cursor);
  bson_destroy(pipeline);
  bson_destroy(o);

  o = options("{}");
  bson_t *filter = json("{\"_id\": {\"$lt\": 5}}"), *update = json("{\"$set\": {\"seen\": true}}"), *all = json("{}");
  CHECK(mongoc_collection_update_many(c, filter, update, o, &reply, &error) && field(&reply, "modifiedCount") == 5);
  bson_destroy(&reply);
  bson_destroy(filter);
  change_one(c);
  filter = json("{\"group\": 4}");
  CHECK(mongoc_collection_delete_many(c, filter, o, &reply, &error) && field(&reply, "deletedCount") == NUMBERS / 10 - 1);
  bson_destroy(&reply);
  CHECK(mongoc_collection_count_documents(c, all, o, NULL, NULL, &error) == NUMBERS * 9 / 10 + 1);
  bson_t *twice = json("{\"_id\": {\"$numberInt\": \"1\"}}");
  CHECK(!mongoc_collection_insert_one(c, twice, o, NULL, &error) && error.code == 11000);
  bson_destroy(twice);
  bson_destroy(filter);
  bson_destroy(update);
  bson_destroy(all);
  bson_destroy(o);
}

static int count_indexes(mongoc_collection_t *c) {
  bson_t *o = options("{}");
  mongoc_cursor_t *cursor = mongoc_collection_find_indexes_with_opts(c, o);
  const bson_t *b;
  int n = 0;
  while (mongoc_cursor_next(cursor, &b))
    n++;
  end(cursor);
  bson_destroy(o);
  return n;
}

static void indexes(mongoc_collection_t *c) {
  bson_t *o = options("{}"), reply;
  bson_t *create = BCON_NEW("createIndexes", "numbers", "indexes", "[", "{", "key", "{", "group", BCON_INT32(1), "}", "name",
                            "by_group", "}", "]");
  CHECK(mongoc_client_write_command_with_opts(client, name, create, o, &reply, &error));
  bson_destroy(&reply);
  bson_destroy(create);
  CHECK(count_indexes(c) == 2);
  CHECK(mongoc_collection_drop_index_with_opts(c, "by_group", o, &error));
  CHECK(count_indexes(c) == 1);
  bson_destroy(o);
}

static void big(void) {
  mongoc_collection_t *c = mongoc_client_get_collection(client, name, "big");
  bson_t *docs[BIG];
  char *data = malloc(BIG_SIZE + 1);
  for (int i = 0; i < BIG; i++) {
    for (int at = 0; at < BIG_SIZE; at += 5)
      memcpy(data + at, (char[]){'b', 'i', 'g', ' ', (char)('0' + i % 10)}, 5);
    data[BIG_SIZE] = 0;
    docs[i] = BCON_NEW("_id", BCON_INT32(i), "data", BCON_UTF8(data));
  }
  free(data);
  insert(c, docs, BIG);
  mongoc_cursor_t *cursor = find(c, "{}", "{\"batchSize\": 15, \"sort\": {\"_id\": 1}}");
  for (int i = 0; i < BIG; i++) {
    CHECK(bson_equal(next(cursor), docs[i]));
    bson_destroy(docs[i]);
  }
  end(cursor);
  mongoc_collection_destroy(c);
}

static void print_documents(const char *collection) {
  mongoc_collection_t *c = mongoc_client_get_collection(client, name, collection);
  mongoc_cursor_t *cursor = find(c, "{}", "{}");
  const bson_t *b;
  printf("%s ", collection);
  while (mongoc_cursor_next(cursor, &b))
    for (uint32_t i = 0; i < b->len; i++)
      printf("%02x", bson_get_data(b)[i]);
  printf("\n");
  end(cursor);
  mongoc_collection_destroy(c);
}

static void documents(const char *file) {
  char text[8192] = "{\"all\": ";
  FILE *f = fopen(file, "r");
  CHECK(f);
  size_t at = strlen(text);
  at += fread(text + at, 1, sizeof text - at - 2, f);
  fclose(f);
  strcpy(text + at, "}");
  bson_t *all = json(text), *docs[8];
  bson_iter_t it, in;
  int n = 0;
  CHECK(bson_iter_init_find(&it, all, "all") && bson_iter_recurse(&it, &in));
  while (bson_iter_next(&in)) {
    const uint8_t *data;
    uint32_t len;
    bson_iter_document(&in, &len, &data);
    CHECK(n < 8);
    docs[n++] = bson_new_from_data(data, len);
  }
  mongoc_collection_t *c = mongoc_client_get_collection(client, name, "ours");
  insert(c, docs, n);
  mongoc_collection_destroy(c);
  while (n)
    bson_destroy(docs[--n]);
  bson_destroy(all);
  print_documents("ours");
  print_documents("theirs");
}

int main(int argc, char **argv) {
  if (argc != 4)
    return 2;
  name = argv[2];
  mongoc_init();
  mongoc_uri_t *uri = mongoc_uri_new_with_error(argv[1], &error);
  CHECK(uri);
  mongoc_uri_set_option_as_int32(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, 10000);
  mongoc_client_pool_t *pool = mongoc_client_pool_new(uri); /* a pool has monitors of its own, a single client has none */
  CHECK(pool && mongoc_client_pool_set_error_api(pool, 2) && mongoc_client_pool_set_appname(pool, name));
  client = mongoc_client_pool_pop(pool);
  session = mongoc_client_start_session(client, NULL, &error);
  CHECK(session);
  mongoc_collection_t *numbers = mongoc_client_get_collection(client, name, "numbers");
  backend();
  cursors(numbers);
  changes(numbers);
  indexes(numbers);
  big();
  documents(argv[3]);
  mongoc_collection_destroy(numbers);
  mongoc_client_session_destroy(session);
  mongoc_client_pool_push(pool, client);
  mongoc_client_pool_destroy(pool);
  mongoc_uri_destroy(uri);
  mongoc_cleanup();
  printf("ok\n");
  return 0;
}
