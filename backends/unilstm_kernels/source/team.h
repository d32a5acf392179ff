// The threads that work on one call together. Nothing here is compiled for an instruction set.
#pragma once
#include <stdint.h>

struct Team;
typedef void (*Work)(const void* about, int64_t item, int member);

int team_size(const Team* team);  // members are numbered below this
// Does each member do rows of its own, for many steps, where so many rows are there? Else all share each step.
bool team_rows_apart(const Team* team, int64_t rows);

// Of the layers of a stack, each done by a member while the one below is: is this one of them? Wait until that below has
// done so many steps, on the way back that above; and say that so many are done here.
bool team_pipelined(const Team* team);
void team_await(const Team* team, int64_t steps);
void team_reached(const Team* team, int64_t steps);

// work(about, item, member) for every item, each once, on any member, in any order; returns when all are done. A member
// begins with items of its own, the same ones for as many; backwards: with the last of them. Who reads the same memory
// again and again, more of it than a cache holds, turns around each time: what was read last is still there.
void team_each(Team* team, int64_t items, bool backwards, Work work, const void* about);

template <class F> static inline void each(Team* team, int64_t items, const F& f, bool backwards = false) {
  team_each(team, items, backwards, [](const void* about, int64_t item, int member) { (*(const F*)about)(item, member); }, &f);
}

namespace {

// Those who do the items of a step: a team, or one member of it alone.
struct Crew {
  Team* team;  // null: a member alone
  int member;
  int size() const { return team ? team_size(team) : 1; }
  bool shared() const { return size() > 1; }
  template <class F> void each(int64_t items, const F& f, bool backwards = false) const {
    if (team) return ::each(team, items, f, backwards);
    for (int64_t item = 0; item < items; item++) f(backwards ? items - 1 - item : item, member);
  }
};

}  // namespace
