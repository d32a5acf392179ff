// The threads that work on one call together. Nothing here is compiled for an instruction set.
#pragma once
#include <stdint.h>

struct Team;
typedef void (*Work)(const void* about, int64_t item, int member);

int team_size(const Team* team);  // members are numbered below this

// work(about, item, member) for every item, each once, on any member, in any order; returns when all are done.
void team_each(Team* team, int64_t items, Work work, const void* about);

template <class F> static inline void each(Team* team, int64_t items, const F& f) {
  team_each(team, items, [](const void* about, int64_t item, int member) { (*(const F*)about)(item, member); }, &f);
}
