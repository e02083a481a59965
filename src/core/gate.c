#include "core/gate.h"

#include <stdlib.h>
#include <string.h>

#include "core/link.h"
#include "core/retry.h"

typedef struct mark {
  uint32_t incarnation, position;
} mark;

struct pt_fence {
  pt_fence *next;
  pt_upstream *up;
  mark *marks; /* one a link */
  unsigned nslots;
  uint16_t slots[];
};

static void update(pt_service *s, unsigned slot) {
  uint64_t bit = 1ull << (slot & 63);
  if (s->gates[slot] || s->fenced[slot])
    s->gated[slot >> 6] |= bit;
  else
    s->gated[slot >> 6] &= ~bit;
}

bool pt_gate_holds(const pt_service *s, const pt_client *c, int slot, uint32_t seq) {
  return (s->fenced[slot] && c->head != seq) || (s->gates[slot] && pt_retry_has(c, slot));
}

void pt_gate_add(pt_service *s, int slot) {
  if (slot < 0)
    return;
  s->gates[slot]++;
  update(s, (unsigned)slot);
}

void pt_gate_remove(pt_service *s, int slot) {
  if (slot < 0)
    return;
  s->gates[slot]--;
  update(s, (unsigned)slot);
}

static bool passed(const pt_fence *f) {
  for (unsigned i = 0; i < 2 * f->up->nlinks; i++) {
    const pt_link *l = &f->up->links[i];
    if (l->incarnation == f->marks[i].incarnation && (int32_t)(l->fhead - f->marks[i].position) < 0)
      return false;
  }
  return true;
}

static void take_down(pt_service *s, pt_fence *f) {
  for (unsigned i = 0; i < f->nslots; i++) {
    s->fenced[f->slots[i]]--;
    update(s, f->slots[i]);
  }
  f->up->refs--;
  free(f->marks);
  free(f);
}

void pt_fence_add(pt_service *s, pt_upstream *up, const uint16_t *slots, unsigned n) {
  bool busy = false;
  for (unsigned i = 0; i < 2 * up->nlinks; i++)
    busy |= up->links[i].fhead != up->links[i].ftail;
  if (!busy)
    return;
  pt_fence *f = malloc(sizeof *f + n * sizeof *slots);
  mark *marks = malloc(2 * up->nlinks * sizeof *marks);
  if (!f || !marks) {
    free(f);
    free(marks);
    for (unsigned i = 0; i < 2 * up->nlinks; i++) {
      up->links[i].doomed = true; /* cut at the end of the turn */
      pt_link_write_later(&up->links[i]);
    }
    return;
  }
  *f = (pt_fence){.next = s->fences, .up = up, .marks = marks, .nslots = n};
  memcpy(f->slots, slots, n * sizeof *slots);
  for (unsigned i = 0; i < 2 * up->nlinks; i++)
    marks[i] = (mark){up->links[i].incarnation, up->links[i].ftail};
  for (unsigned i = 0; i < n; i++) {
    s->fenced[slots[i]]++;
    update(s, slots[i]);
  }
  up->refs++;
  s->fences = f;
}

void pt_fence_check(pt_service *s) {
  bool any = false;
  for (pt_fence **at = &s->fences; *at;) {
    pt_fence *f = *at;
    if (!passed(f)) {
      at = &f->next;
      continue;
    }
    *at = f->next;
    take_down(s, f);
    any = true;
  }
  if (any)
    pt_retry_look_again(s->worker);
}

void pt_fence_free(pt_service *s) {
  for (pt_fence *f; (f = s->fences);) {
    s->fences = f->next;
    take_down(s, f);
  }
}
