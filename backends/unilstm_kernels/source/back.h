// What both ways back share. Some steps are done at once, from the last to the first; what they leave then goes to the
// weights and to x, while it is in the cache, and its place is used again.
#pragma once
#include "outer.h"

namespace {

// A step on the way back: t, the rows that have it, and the step that was done before with those that have that. -1: there
// is none; after the last, what reaches the initial state is left to do.
struct StepBack {
  int64_t t, before;
  Span active, seen;
};

// Where what steps leave is kept: that of the steps which are done at once and of the one before them. Sums over steps are
// made of those of so many steps, which must depend on nothing but the sizes of the job.
struct Recent {
  int64_t rows, at_once, slots;

  // As many steps as make a good sum of outer products, and more where they stay in the second-level cache. width: of a
  // row of what a step leaves.
  template <class T> Recent(const Shape<T>& s, int64_t width) : rows(s.rows) {
    int64_t some = (1 << 20) / (width * (int64_t)sizeof(T)) / kDepth * kDepth;
    some = some < kDepth ? kDepth : at_most(some, 4 * kDepth);
    at_once = some < rows ? 1 : at_most(s.steps, some / rows);
    slots = at_most(s.steps, at_once + 1);
  }
  int64_t count() const { return slots * rows; }
  int64_t at(int64_t t, int64_t b) const { return t % slots * rows + b; }
};

// A sum over steps, before the first of them.
template <class T> void clear(const Shape<T>& s, Array which, int64_t count) {
  if (s.array(which)) memset(s.array(which), 0, count * sizeof(T));
}

// step(one, crew) for all steps and all rows; of each few that are done, weights(start, end) and inputs(start, end). even:
// as of share.
template <class T, class F, class Weights, class Inputs>
void backwards(Team* team, const Shape<T>& s, const Order& order, const Recent& recent, int64_t even, const F& step, const Weights& weights, const Inputs& inputs) {
  const bool pipelined = team_pipelined(team);
  auto time = [&](int64_t n) { return n >= 0 && n < s.steps ? s.time(n) : -1; };
  for (int64_t last = s.steps, first; last > 0; last = first) {
    first = last - at_most(last, recent.at_once);
    for (int64_t end = last, start; end > first; end = start) {
      start = end - at_most(end - first, some_steps(team, s.rows, recent.at_once, s.steps - end));
      team_await(team, s.steps - start);
      by_rows(team, s, order, start, end, even, [&](const Span& rows, const Crew& crew) {
        for (int64_t n = end - 1; n >= (start ? start : -1); n--) {
          int64_t t = time(n), before = time(n + 1);
          step(StepBack{t, before, order.active_of(rows, t), order.active_of(rows, before)}, crew);
        }
      });
      if (pipelined) inputs(start, end), team_reached(team, s.steps - start);
    }
    weights(first, last);
    if (!pipelined) inputs(first, last);
  }
}

// f(t, b) for each row of the steps from start to before end, step by step, where the row has that step.
template <class T, class F> INLINE void each_row(const Shape<T>& s, int64_t start, int64_t end, const F& f) {
  for (int64_t n = start; n < end; n++) {
    const int64_t t = s.time(n);
    for (int64_t b = 0; b < s.rows; b++)
      if (t < s.length(b)) f(t, b);
  }
}

// What reaches x of the steps from start to before end: the gradients of z, row by row, times the packed weights [width, I].
// Pieces of the rows, each times cuts of the panels. tiles, pointers: [members][tile_size], [members][kRowChunk].
template <class T, class Z>
void of_inputs(Team* team, const Shape<T>& s, int64_t start, int64_t end, int64_t width, const T* of_x, T* tiles, int64_t tile_size, const T** pointers, const Z& dz_row) {
  if (!s.array(kDx)) return;
  const int64_t all = (end - start) * s.rows, pieces = parts(all, kRowChunk), panels = parts(s.inputs, kWide<T>);
  const int64_t bunches = parts(panels, kAtOnce), cuts = at_most(bunches, parts(4 * team_size(team), pieces));
  each(team, pieces * cuts, [&](int64_t item, int member) {
    const int64_t piece = item / cuts, cut = item % cuts, last = at_most(all, (piece + 1) * kRowChunk);
    const T** rows = pointers + member * kRowChunk;
    T* to[kRowChunk];
    int64_t count = 0;
    for (int64_t k = piece * kRowChunk; k < last; k++) {
      int64_t t = s.time(start + k / s.rows), b = k % s.rows;
      T* dx = s.array(kDx) + s.at(t, b) * s.inputs;
      if (t < s.length(b)) to[count] = dx, rows[count++] = dz_row(t, b);
      else if (!cut) memset(dx, 0, s.inputs * sizeof(T));
    }
    for (int64_t n = bunches * cut / cuts; n < bunches * (cut + 1) / cuts; n++) {
      const Tile<T> sums{tiles + member * tile_size, count, n * kAtOnce, at_most(panels, (n + 1) * kAtOnce), s.inputs};
      sums.of(width, rows, of_x);
      sums.each([&](int64_t i, int64_t k, int64_t left, Vec<T> one) { store<T>(to[i] + k, one, left); });
    }
  });
}

}  // namespace
