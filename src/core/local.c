#include "core/local.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "core/reply.h"

static const char version[] = "7.0.15"; /* whose commands and texts we speak */

static bool is(const pt_arg *a, const char *word) { return a->n == strlen(word) && !strncasecmp((const char *)a->p, word, a->n); }

static void say(pt_client *c, const char *resp) {
  pt_reply_bytes(c->svc->worker, pt_client_owner(c, c->tail++), resp, strlen(resp));
}

static void fail(pt_client *c, pt_error e, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void fail(pt_client *c, pt_error e, const char *fmt, ...) {
  char text[400];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  pt_reply_error(c->svc->worker, pt_client_owner(c, c->tail++), e, "%s", text);
}

static void say_bulk(pt_client *c, const void *bytes, size_t n) {
  pt_worker *w = c->svc->worker;
  pt_chunk *chunk = pt_chunk_new(&w->pool, n + 32);
  if (!chunk) {
    pt_client_fail(c, PT_E_MEMORY, "out of memory");
    return;
  }
  int head = sprintf((char *)chunk->data, "$%zu\r\n", n);
  memcpy(chunk->data + head, bytes, n);
  memcpy(chunk->data + (size_t)head + n, "\r\n", 2);
  chunk->fill = (uint32_t)head + (uint32_t)n + 2;
  pt_reply_to(w, pt_client_owner(c, c->tail++), chunk, 0, chunk->fill, true);
  pt_chunk_unref(chunk);
}

/* A decimal number without anything else. */
static bool integer(const pt_arg *a, long *out) {
  char text[24], *end;
  if (!a->n || a->n >= sizeof text)
    return false;
  memcpy(text, a->p, a->n);
  text[a->n] = 0;
  *out = strtol(text, &end, 10);
  return *end == 0 && text[0] != ' ' && text[0] != '+';
}

/* ---- who one is ---- */

/* Takes as long for a wrong secret as for the right one, whatever they have in common. */
static bool same_secret(const pt_arg *given, const char *secret) {
  size_t n = strlen(secret);
  unsigned diff = (unsigned)(n ^ given->n) | (n == 0);
  for (uint32_t i = 0; i < given->n; i++)
    diff |= (unsigned)given->p[i] ^ (unsigned char)(n ? secret[i % n] : 0);
  return diff == 0;
}

/* Every user is compared, so that time tells nothing about which names exist. */
static bool authenticate(pt_client *c, const pt_arg *user, const pt_arg *password) {
  const pt_listener_config *lc = c->svc->lc;
  static const pt_arg standard = {(const uint8_t *)"default", 7};
  int found = -1;
  user = user ? user : &standard;
  for (unsigned i = 0; i < lc->nusers; i++) {
    bool name = same_secret(user, lc->users[i].name), secret = same_secret(password, lc->users[i].password);
    if (name & secret)
      found = (int)i;
  }
  if (!lc->nusers && is(user, "default"))
    return true; /* an open door: the default user has any password */
  if (found < 0)
    return false;
  free(c->user);
  c->user = strdup(lc->users[found].name); /* without memory: shown as default */
  c->flags |= PT_CLIENT_AUTHED;
  return true;
}

static const char wrong_pass[] = "WRONGPASS invalid username-password pair or user is disabled.";

static void auth(pt_client *c, const pt_arg *args, uint32_t argc) {
  if (argc > 3)
    fail(c, PT_E_ARGUMENTS, "ERR syntax error");
  else if (argc == 2 && !c->svc->lc->nusers)
    fail(c, PT_E_AUTHENTICATION,
         "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is "
         "correct?");
  else if (authenticate(c, argc == 3 ? &args[1] : NULL, &args[argc - 1]))
    say(c, "+OK\r\n");
  else
    fail(c, PT_E_AUTHENTICATION, "%s", wrong_pass);
}

/* ---- CLIENT ---- */

static bool set_name(pt_client *c, const pt_arg *name) {
  for (uint32_t i = 0; i < name->n; i++)
    if (name->p[i] < '!' || name->p[i] > '~')
      return false;
  if (name->n > 1024)
    return false;
  free(c->name);
  c->name = name->n ? strndup((const char *)name->p, name->n) : NULL;
  return true;
}

static const char bad_name[] = "ERR Client names cannot contain spaces, newlines or special characters.";

static void client_info(pt_client *c) {
  char text[1600], addr[PT_ADDRESS_TEXT];
  pt_address a = {.len = sizeof a.in6};
  getpeername(c->conn.io.fd, &a.sa, &a.len);
  int n = snprintf(text, sizeof text, "id=%llu addr=%s fd=%d name=%s age=%llu db=0 resp=%u user=%.256s\n",
                   (unsigned long long)c->id, pt_address_format(&a, addr, sizeof addr), c->conn.io.fd, c->name ? c->name : "",
                   (unsigned long long)((c->svc->worker->now - c->since) / 1000000000u), c->proto, c->user ? c->user : "default");
  say_bulk(c, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

static void client_command(pt_client *c, const char *sub, const pt_arg *args) {
  char line[32];
  if (!strcmp(sub, "id")) {
    snprintf(line, sizeof line, ":%llu\r\n", (unsigned long long)c->id);
    say(c, line);
  } else if (!strcmp(sub, "getname")) {
    if (c->name)
      say_bulk(c, c->name, strlen(c->name));
    else
      say(c, c->proto == 3 ? "_\r\n" : "$-1\r\n");
  } else if (!strcmp(sub, "setname")) {
    if (set_name(c, &args[2]))
      say(c, "+OK\r\n");
    else
      fail(c, PT_E_ARGUMENTS, "%s", bad_name);
  } else if (!strcmp(sub, "info")) {
    client_info(c);
  } else if (!strcmp(sub, "no-evict") || !strcmp(sub, "no-touch")) {
    if (is(&args[2], "on") || is(&args[2], "off"))
      say(c, "+OK\r\n");
    else
      fail(c, PT_E_ARGUMENTS, "ERR syntax error");
  } else if (!strcmp(sub, "setinfo")) {
    if (is(&args[2], "lib-name") || is(&args[2], "lib-ver"))
      say(c, "+OK\r\n");
    else
      fail(c, PT_E_ARGUMENTS, "ERR Unrecognized option '%.*s'", (int)(args[2].n < 64 ? args[2].n : 64), (const char *)args[2].p);
  } else {
    fail(c, PT_E_UNSUPPORTED, "ERR 'client|%s' is not supported through puerta yet", sub);
  }
}

/* ---- HELLO, RESET ---- */

static void hello_reply(pt_client *c) {
  char text[256];
  snprintf(text, sizeof text,
           "%s\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$%zu\r\n%s\r\n$5\r\nproto\r\n:%u\r\n$2\r\nid\r\n:%llu\r\n"
           "$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n",
           c->proto == 3 ? "%7" : "*14", strlen(version), version, c->proto, (unsigned long long)c->id);
  say(c, text);
}

static void hello(pt_client *c, const pt_arg *args, uint32_t argc) {
  long proto = c->proto;
  const pt_arg *user = NULL, *password = NULL, *name = NULL;
  if (argc > 1 && !integer(&args[1], &proto)) {
    fail(c, PT_E_ARGUMENTS, "ERR Protocol version is not an integer or out of range");
    return;
  }
  if (proto != 2 && proto != 3) {
    fail(c, PT_E_ARGUMENTS, "NOPROTO unsupported protocol version");
    return;
  }
  for (uint32_t i = 2; i < argc; i++) {
    if (is(&args[i], "AUTH") && i + 2 < argc) {
      user = &args[i + 1];
      password = &args[i + 2];
      i += 2;
    } else if (is(&args[i], "SETNAME") && i + 1 < argc) {
      name = &args[++i];
    } else {
      fail(c, PT_E_ARGUMENTS, "ERR Syntax error in HELLO option '%.*s'", (int)(args[i].n < 64 ? args[i].n : 64),
           (const char *)args[i].p);
      return;
    }
  }
  if (user && !authenticate(c, user, password))
    fail(c, PT_E_AUTHENTICATION, "%s", wrong_pass);
  else if (!(c->flags & PT_CLIENT_AUTHED))
    fail(c, PT_E_NOT_AUTHENTICATED,
         "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> "
         "option can "
         "be used to authenticate the client and select the RESP protocol version at the same time");
  else if (name && !set_name(c, name))
    fail(c, PT_E_ARGUMENTS, "%s", bad_name);
  else {
    c->proto = (uint8_t)proto;
    hello_reply(c);
  }
}

static void reset(pt_client *c) {
  free(c->name);
  free(c->user);
  c->name = c->user = NULL;
  c->proto = 2;
  if (c->svc->lc->nusers)
    c->flags &= (uint16_t)~PT_CLIENT_AUTHED;
  say(c, "+RESET\r\n");
}

/* ---- the rest ---- */

static void say_time(pt_client *c) {
  struct timeval t;
  char sec[24], usec[24], text[96];
  gettimeofday(&t, NULL);
  int a = snprintf(sec, sizeof sec, "%lld", (long long)t.tv_sec), b = snprintf(usec, sizeof usec, "%lld", (long long)t.tv_usec);
  snprintf(text, sizeof text, "*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", a, sec, b, usec);
  say(c, text);
}

static void select_db(pt_client *c, const pt_arg *a) {
  long db;
  if (!integer(a, &db))
    fail(c, PT_E_ARGUMENTS, "ERR value is not an integer or out of range");
  else if (db != 0)
    fail(c, PT_E_ARGUMENTS, "ERR SELECT is not allowed in cluster mode");
  else
    say(c, "+OK\r\n");
}

bool pt_local_run(pt_client *c, const pt_command *cmd, const pt_arg *args, uint32_t argc) {
  const char *name = cmd->name;
  if (!strcmp(name, "ping")) {
    if (argc > 2)
      fail(c, PT_E_ARGUMENTS, "ERR wrong number of arguments for 'ping' command");
    else if (argc == 2)
      say_bulk(c, args[1].p, args[1].n);
    else
      say(c, "+PONG\r\n");
  } else if (!strcmp(name, "echo")) {
    say_bulk(c, args[1].p, args[1].n);
  } else if (!strcmp(name, "time")) {
    say_time(c);
  } else if (!strcmp(name, "select")) {
    select_db(c, &args[1]);
  } else if (!strcmp(name, "readonly") || !strcmp(name, "readwrite")) {
    say(c, "+OK\r\n"); /* which node reads is the policy's choice */
  } else if (!strcmp(name, "quit")) {
    say(c, "+OK\r\n");
    c->flags |= PT_CLIENT_CLOSING;
  } else if (!strncmp(name, "client|", 7)) {
    client_command(c, name + 7, args);
  } else if (!strcmp(name, "hello") || !strcmp(name, "auth") || !strcmp(name, "reset")) {
    if (c->head != c->tail)
      return false;
    if (*name == 'h')
      hello(c, args, argc);
    else if (*name == 'a')
      auth(c, args, argc);
    else
      reset(c);
  } else {
    fail(c, PT_E_UNSUPPORTED, "ERR '%s' is not supported through puerta yet", name);
  }
  return true;
}
