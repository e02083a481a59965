#include "net/hall.h"

#include "base/clock.h"
#include "net/secure.h"

enum {
  PAUSE = 3 /* times what a step took */
};

void pt_hall_leave(pt_hall *h, pt_secure *s) {
  *(s->prev ? &s->prev->next : &h->first) = s->next;
  *(s->next ? &s->next->prev : &h->last) = s->prev;
  s->prev = s->next = NULL;
  s->queued = false;
  atomic_store_explicit(&h->n, atomic_load_explicit(&h->n, memory_order_relaxed) - 1, memory_order_relaxed);
  if (!h->first) {
    ev_idle_stop(h->loop, &h->idle);
    ev_timer_stop(h->loop, &h->turn);
  }
}

/* The oldest's turn is at the end of the pause. */
static void wait_for_turn(pt_hall *h) {
  uint64_t now = pt_now_ns();
  ev_now_update(h->loop);
  ev_timer_stop(h->loop, &h->turn);
  ev_timer_set(&h->turn, h->pause > now ? (double)(h->pause - now) / 1e9 : 0., 0.);
  ev_timer_start(h->loop, &h->turn);
}

static void serve(pt_hall *h) {
  uint64_t began = pt_now_ns();
  pt_secure *s = h->first;
  pt_hall_leave(h, s);
  pt_secure_step(s);
  uint64_t now = pt_now_ns();
  h->pause = now + PAUSE * (now - began);
  if (h->first)
    wait_for_turn(h);
}

static void on_idle(struct ev_loop *loop, ev_idle *w, int events) {
  (void)loop, (void)events;
  serve(w->data);
}

static void on_turn(struct ev_loop *loop, ev_timer *w, int events) {
  (void)loop, (void)events;
  serve(w->data);
}

void pt_hall_enter(pt_hall *h, pt_secure *s) {
  s->prev = h->last;
  s->next = NULL;
  *(h->last ? &h->last->next : &h->first) = s;
  h->last = s;
  s->queued = true;
  atomic_store_explicit(&h->n, atomic_load_explicit(&h->n, memory_order_relaxed) + 1, memory_order_relaxed);
  if (s->prev)
    return;
  ev_idle_start(h->loop, &h->idle);
  wait_for_turn(h);
}

void pt_hall_init(pt_hall *h, struct ev_loop *loop) {
  *h = (pt_hall){.loop = loop};
  ev_idle_init(&h->idle, on_idle);
  ev_timer_init(&h->turn, on_turn, 0., 0.);
  h->idle.data = h->turn.data = h;
}

void pt_hall_free(pt_hall *h) {
  if (!h->loop)
    return;
  ev_idle_stop(h->loop, &h->idle);
  ev_timer_stop(h->loop, &h->turn);
}
