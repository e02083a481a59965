#include "base/hash.h"
#include "wire/bson_hop.h"
#include "wire/mongo_hello.h"

enum {
  ENTRIES = 10
};

/* The canonical list: of each entry its length in 4 bytes, then its bytes. */
typedef struct entries {
  pt_piece at[2 * ENTRIES];
  uint8_t len[ENTRIES][4];
  unsigned n;
} entries;

static void add(entries *l, const void *p, size_t n) {
  pt_put32(l->len[l->n], (uint32_t)n);
  l->at[2 * l->n] = (pt_piece){l->len[l->n], 4};
  l->at[2 * l->n + 1] = (pt_piece){p ? p : "", n};
  l->n++;
}

/* What path names in the client document: a string (until '|', behind which wrappers add themselves), or anything else as it is. */
static void add_path(entries *l, const pt_client_hello *h, const char *path, bool until_bar) {
  bson_iter_t it, at;
  if (!h->client || !bson_iter_init_from_data(&it, h->client, h->client_len) || !bson_iter_find_descendant(&it, path, &at)) {
    add(l, NULL, 0);
  } else if (BSON_ITER_HOLDS_UTF8(&at)) {
    uint32_t n;
    const char *text = bson_iter_utf8(&at, &n), *bar = until_bar ? memchr(text, '|', n) : NULL;
    add(l, text, bar ? (size_t)(bar - text) : n);
  } else if (BSON_ITER_HOLDS_DOCUMENT(&at)) {
    uint32_t n;
    const uint8_t *doc;
    bson_iter_document(&at, &n, &doc);
    add(l, doc, n);
  } else {
    add(l, NULL, 0);
  }
}

int pt_client_fingerprint(const pt_client_hello *h, const uint8_t *ip, unsigned ip_n, const char *sni, const uint8_t *cert,
                          uint8_t out[32]) {
  static const char tag[] = "puerta client 1";
  entries l = {.n = 0};
  add(&l, tag, sizeof tag - 1);
  add(&l, ip, ip_n);
  add(&l, sni, sni ? strlen(sni) : 0);
  add(&l, cert, cert ? PT_SHA256 : 0);
  add_path(&l, h, "application.name", false);
  add_path(&l, h, "driver.name", true);
  add_path(&l, h, "driver.version", true);
  add_path(&l, h, "os", false);
  add_path(&l, h, "platform", true);
  add_path(&l, h, "env", false);
  return pt_sha256(l.at, 2 * l.n, out);
}
