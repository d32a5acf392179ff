// The threads that work on one call together. Nothing here is compiled for an instruction set.
#pragma once
#include <stdint.h>

struct Team;
typedef void (*Work)(const void* about, int64_t item, int member);

int team_size(const Team* team);  // members are numbered below this
// Does each member do rows of its own, for many steps, where so many rows are there? Else all share each step.
bool team_rows_apart(const Team* team, int64_t rows);

// work(about, item, member) for every item, each once, on any member, in any order; returns when all are done.
void team_each(Team* team, int64_t items, Work work, const void* about);

template <class F> static inline void each(Team* team, int64_t items, const F& f) {
  team_each(team, items, [](const void* about, int64_t item, int member) { (*(const F*)about)(item, member); }, &f);
}

// Those who do the items of a step: a team, or one member of it alone.
struct Crew {
  Team* team;  // null: a member alone
  int member;
  int size() const { return team ? team_size(team) : 1; }
  template <class F> void each(int64_t items, const F& f) const {
    if (team) return ::each(team, items, f);
    for (int64_t item = 0; item < items; item++) f(item, member);
  }
};
