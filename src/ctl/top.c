#include "ctl/top.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "ctl/doc.h"
#include "ctl/show.h"

enum {
  EVERY_MS = 1000
};

#define SCREEN "\033[?1049h\033[?25l" /* the other screen, no cursor */
#define BACK "\033[?25h\033[?1049l"

static volatile sig_atomic_t stopped;
static void on_signal(int sig) { stopped = sig; }

static bson_t *look(const pt_ctl_server *s, char *err, size_t errsize) {
  pt_ctl_answer a;
  if (pt_ctl_ask(s, "GET", "/status", &a, err, errsize))
    return NULL;
  bson_t *d = a.status == 200 ? pt_doc_parse(a.body) : NULL;
  if (!d)
    snprintf(err, errsize, "/status answers %d: %.200s", a.status, a.status == 200 ? "something that is no JSON" : a.body);
  free(a.body);
  return d;
}

/* The frame with what keeps a terminal tidy: from the top left, what was right of and below it goes. */
static void draw(const bson_t *is, const bson_t *was) {
  struct winsize size = {.ws_row = 24, .ws_col = 80};
  char *text = NULL;
  size_t n;
  ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
  FILE *f = open_memstream(&text, &n);
  if (!f)
    return;
  pt_show_top(f, is, was, size.ws_row > 1 ? size.ws_row - 1u : 1, size.ws_col ? size.ws_col : 80);
  fclose(f);
  fputs("\033[H", stdout);
  for (const char *p = text; *p; p++)
    fputs(*p == '\n' ? "\033[K\n" : (char[]){*p, 0}, stdout);
  fputs("\033[J", stdout);
  fflush(stdout);
  free(text);
}

/* Waits a second. true: it is to end. */
static bool quits(bool keys) {
  struct pollfd p = {.fd = keys ? STDIN_FILENO : -1, .events = POLLIN};
  char c = 0;
  int got = poll(&p, 1, EVERY_MS);
  if (got > 0 && read(STDIN_FILENO, &c, 1) <= 0)
    return true;
  return stopped || c == 'q' || c == 'Q';
}

static int watch(const pt_ctl_server *s, bson_t *was, char *err, size_t errsize) {
  bson_t *is = NULL;
  while (!quits(isatty(STDIN_FILENO)) && (is = look(s, err, errsize))) {
    draw(is, was);
    bson_destroy(was);
    was = is;
  }
  bson_destroy(was);
  return is || stopped ? 0 : err[0] != 0;
}

int pt_ctl_top(const pt_ctl_server *s, bool once) {
  char err[512] = "";
  struct termios before, keys;
  bson_t *was = look(s, err, sizeof err), *is = NULL;
  int code = 1;
  if (was && (once || !isatty(STDOUT_FILENO))) {
    poll(NULL, 0, EVERY_MS);
    if ((is = look(s, err, sizeof err))) {
      pt_show_top(stdout, is, was, 0, 512);
      code = 0;
    }
    bson_destroy(was);
    bson_destroy(is);
  } else if (was) {
    bool raw = !tcgetattr(STDIN_FILENO, &before);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    if (raw) {
      keys = before;
      keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
      tcsetattr(STDIN_FILENO, TCSANOW, &keys);
    }
    fputs(SCREEN, stdout);
    draw(was, NULL);
    code = watch(s, was, err, sizeof err);
    fputs(BACK, stdout);
    fflush(stdout);
    if (raw)
      tcsetattr(STDIN_FILENO, TCSANOW, &before);
  }
  if (code)
    fprintf(stderr, "puerta ctl: %s\n", err);
  return code;
}
