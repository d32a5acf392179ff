// Sizes of a job, the order of its rows, and its memory.
#pragma once
#include <stdlib.h>
#include "functions.h"
#include "memory.h"
#include "team.h"
#include "turned.h"

namespace {

// Memory taken at once: ask for parts, then get() it, then take each part by its offset.
struct Parts {
  int64_t bytes = 0;
  char* base = nullptr;
  template <class T> int64_t ask(int64_t count) {
    int64_t at = bytes;
    bytes += parts(count * (int64_t)sizeof(T), 64) * 64;
    return at;
  }
  template <class T> T* at(int64_t offset) const { return (T*)(base + offset); }
};

// That of one call.
struct Memory : Parts {
  Memory() = default;
  Memory(const Memory&) = delete;
  ~Memory() { memory_give(base); }
  bool get() { return (base = (char*)memory_take(bytes + 64)) != nullptr; }
};

// That of weights packed for many calls. there: did a call before this one fill it?
struct Lasting : Parts {
  bool there = false;
  bool get(Packed* packed, int64_t type_bytes) {
    int64_t stamp = kBytes * 16 + type_bytes;
    there = packed->memory && packed->stamp == stamp && packed->bytes == bytes;
    if (!there) {
      free(packed->memory);
      *packed = {stamp, bytes, nullptr, 0};
      if (posix_memalign(&packed->memory, 64, bytes + 64)) packed->memory = nullptr;
    }
    return (base = (char*)packed->memory) != nullptr;
  }
};

// z of forward.h, and what is kept of it, [T][lines][B][groups][kLine]: all that a block of units reads of a step lies
// together. A line is as long for every instruction set; rows are in the order of Order.
template <class T> constexpr int64_t kLine = 128 / sizeof(T);

template <class T> struct Shape {
  const Job& job;
  int64_t steps, rows, inputs, hidden, state, groups, all_groups, units, width, all_width;  // units: blocks of kWide
  int64_t lines, line_row, line_step;  // numbers of a row of a line, and of a step
  bool projected, highway, reverse;
  Activation<T> gate, cell, output;
  T gate_clip, cell_clip, proj_clip;
  int place[5];    // of i f g o r among the groups, -1 where there is none
  int peep[5];     // of i f o among the peepholes
  bool keeps_value[5];  // is the activation kept for the way back, or what it acted on?

  explicit Shape(const Job& j) : job(j) {
    const int64_t* n = j.number;
    steps = n[kSteps], rows = n[kRows], inputs = n[kInputs], hidden = n[kHidden], state = n[kState];
    projected = n[kHas] & kProjected, highway = n[kHas] & kHighway, reverse = n[kReverse];
    bool coupled = n[kHas] & kCoupled;
    bool there[5] = {bool(n[kHas] & kInputGate), bool(n[kHas] & kForgetGate) && !coupled, true, bool(n[kHas] & kOutputGate), highway};
    groups = 0;
    int peeps = 0;
    for (int k = 0; k < 5; k++) {
      place[k] = there[k] ? (int)groups++ : -1;
      peep[k] = (n[kHas] & kPeephole) && there[k] && k != 2 && k != 4 ? peeps++ : -1;
    }
    all_groups = groups + highway;
    units = parts(hidden, kWide<T>), width = groups * hidden, all_width = all_groups * hidden;
    const double* r = j.real;
    lines = parts(hidden, kLine<T>), line_row = all_groups * kLine<T>, line_step = lines * rows * line_row;
    gate = {n[kGateKind], (T)r[kGateA], (T)r[kGateB]};
    cell = {n[kCellKind], (T)r[kCellA], (T)r[kCellB]};
    output = {n[kOutputKind], (T)r[kOutputA], (T)r[kOutputB]};
    gate_clip = (T)r[kGateClip], cell_clip = (T)r[kCellClip], proj_clip = (T)r[kProjClip];
    for (int k = 0; k < 5; k++) keeps_value[k] = gate_clip == 0 && slope_of_value(k == 2 ? cell.kind : gate.kind);
  }

  T* array(Array which) const { return (T*)job.array[which]; }
  int64_t length(int64_t b) const {
    const int32_t* lengths = (const int32_t*)job.array[kLengths];
    if (!lengths) return steps;
    return lengths[b] < 0 ? 0 : at_most(lengths[b], steps);
  }
  const T* x(int64_t t, int64_t b) const { return array(kX) + t * job.number[kStrideT] + b * job.number[kStrideB]; }
  T* y(int64_t t, int64_t b) const { return beside(kY, t * job.number[kYStrideT] + b * job.number[kYStrideB]); }
  const T* dy(int64_t t, int64_t b) const { return beside(kDy, t * job.number[kDyStrideT] + b * job.number[kDyStrideB]); }
  T* beside(Array which, int64_t at) const { return array(which) + job.number[kYFrom] + at; }
  int64_t time(int64_t n) const { return reverse ? steps - 1 - n : n; }
  int64_t before(int64_t t) const { return reverse ? t + 1 : t - 1; }
  bool first(int64_t t, int64_t b) const { return reverse ? t == length(b) - 1 : t == 0; }
  int64_t last(int64_t b) const { return reverse ? 0 : length(b) - 1; }  // of a row that has a step
  int64_t at(int64_t t, int64_t b) const { return t * rows + b; }
  // Block u of the n-th of `some` rows whose lines of a step lie together.
  int64_t in_lines(int64_t u, int64_t n, int64_t some) const {
    int64_t unit = u * kWide<T>;
    return (unit / kLine<T> * some + n) * line_row + unit % kLine<T>;
  }
  // The h that the step before t of a row left.
  const T* h_before(int64_t t, int64_t b) const {
    return first(t, b) ? array(kH0) + b * state : y(before(t), b);
  }

  // The state after each row's last step, of `slots` features of c; of a row without steps, the initial one. c_now:
  // where c is if not every step's is kept.
  void finish(const T* c_now, int64_t slots) const {
    for (int64_t b = 0; b < rows; b++) {
      int64_t last_at = at(last(b), b);
      bool empty = length(b) == 0;
      const T* c = !array(kCells) ? c_now + b * slots : array(kCells) + last_at * slots;
      memcpy(array(kHn) + b * state, empty ? array(kH0) + b * state : y(last(b), b), state * sizeof(T));
      memcpy(array(kCn) + b * slots, empty ? array(kC0) + b * slots : c, slots * sizeof(T));
    }
  }
};

constexpr int64_t kStepsRows = 512;  // rows of x projected at once: their z stays in the second-level cache

// How far rows of working arrays are apart: a line of the cache more than they are wide. That is often a power of two,
// and rows so far apart displace one another.
template <class T> INLINE int64_t apart(int64_t width) { return width + 64 / (int64_t)sizeof(T); }

// What a gradient starts from: what is given, or 0.
template <class T> void start(T* to, const T* from, int64_t count) {
  if (from) memcpy(to, from, count * sizeof(T));
  else memset(to, 0, count * sizeof(T));
}

// The gradient of z before it was clipped.
template <class T> Vec<T> passed(Vec<T> z, T clip, Vec<T> gradient) {
  return absolute<T>(z) > splat(clip) ? Vec<T>{} : gradient;
}

// Panels of the columns of a matrix of `depth` rows, each a pointer.
template <class T, class R> void pack_columns(Team* team, int64_t depth, int64_t count, const R& row, T* panels) {
  constexpr int W = kWide<T>;
  each(team, parts(count, W), [&](int64_t p, int) {
    for (int64_t k = 0; k < depth; k++) pack_row<T>(row(k) + p * W, nullptr, count - p * W, panels + (p * depth + k) * W);
  });
}

// Rows by their places in the order, from one to before another.
struct Span {
  int64_t from, to;
  int64_t count() const { return to - from; }
};

// The rows from the longest to the shortest, those of one length as they come; and how many have a step t.
struct Order {
  int64_t* row;     // [B]
  int64_t* places;  // [T+1]: how many rows have at least so many steps
  int64_t active(int64_t t) const { return places[t + 1]; }
  // Of some rows, those that have step t; of a step that there is not, none.
  Span active_of(const Span& rows, int64_t t) const {
    if (t < 0) return {rows.from, rows.from};
    return {rows.from, active(t) < rows.from ? rows.from : at_most(active(t), rows.to)};
  }
  // How many steps of rows are done from start to end.
  template <class T> int64_t all_steps(const Shape<T>& s, int64_t start, int64_t end) const {
    int64_t all = 0;
    for (int64_t n = start; n < end; n++) all += active(s.time(n));
    return all;
  }
  // The rows as `shares` spans of about as many of `all` steps, those that are done from start to end: where span n
  // begins, a multiple of `even`.
  template <class T> int64_t share(const Shape<T>& s, int64_t start, int64_t end, int64_t all, int64_t n, int64_t shares, int64_t even) const {
    if (n == shares) return s.rows;
    int64_t before = 0, place = 0, from = s.reverse ? s.steps - end : start;
    for (; place < s.rows && before * shares < all * n; place++) {
      int64_t left = s.length(row[place]) - from;
      before += left < 0 ? 0 : at_most(left, end - start);
    }
    return at_most(parts(place, even) * even, s.rows);
  }
  // f(n, t, place) for piece `item` of the steps of some rows that are done from start to end, n counted from the first.
  template <class T, class F> void each_step(const Shape<T>& s, int64_t start, int64_t end, const Span& rows, int64_t item, const F& f) const {
    int64_t last = at_most((end - start) * rows.count(), (item + 1) * kRowChunk);
    for (int64_t k = item * kRowChunk; k < last; k++) {
      int64_t n = k / rows.count(), place = rows.from + k % rows.count(), t = s.time(start + n);
      if (t < s.length(row[place])) f(n, t, place);
    }
  }
  template <class T> void fill(const Shape<T>& s) {
    for (int64_t n = 0; n <= s.steps; n++) places[n] = 0;
    for (int64_t b = 0; b < s.rows; b++)
      if (s.length(b)) places[s.length(b) - 1]++;
    for (int64_t n = s.steps - 1; n >= 0; n--) places[n] += places[n + 1];
    // So many rows are longer than n: there the first of length n goes, and in the end those at least as long are counted.
    for (int64_t b = 0; b < s.rows; b++) row[places[s.length(b)]++] = b;
  }
};

// Rows of steps that the layers of a stack hand on at once: as many as one pass over the weights of x takes. Fewer gain
// nothing (measured), twice as many a twentieth less.
constexpr int64_t kPipelineRows = 8;

// How many steps to do at once, after so many: few at first where members have rows of their own, so that a helper that
// comes late misses little.
INLINE int64_t some_steps(const Team* team, int64_t rows, int64_t most, int64_t done) {
  if (team_pipelined(team)) return at_most(most, parts(kPipelineRows, rows));
  return team_rows_apart(team, rows) ? at_most(most, parts(most, 8) + done) : most;
}

// f(rows, crew) for all rows, and the steps that are done from start to end: all rows with the whole team, or the members'
// shares of them.
template <class T, class F> void by_rows(Team* team, const Shape<T>& s, const Order& order, int64_t start, int64_t end, int64_t even, const F& f) {
  const int64_t all = order.all_steps(s, start, end), shares = team_size(team);
  if (!team_rows_apart(team, all / (end - start))) return f(Span{0, s.rows}, Crew{team, 0});
  each(team, shares, [&](int64_t n, int member) {
    Span rows{order.share(s, start, end, all, n, shares, even), order.share(s, start, end, all, n + 1, shares, even)};
    if (rows.count()) f(rows, Crew{nullptr, member});
  });
}

// f(start, end, rows, crew) for all rows and all steps, at most `most` at once.
template <class T, class F> void forwards(Team* team, const Shape<T>& s, const Order& order, int64_t most, const F& f) {
  for (int64_t start = 0, end; start < s.steps; start = end) {
    end = at_most(s.steps, start + some_steps(team, s.rows, most, start));
    team_await(team, end);
    by_rows(team, s, order, start, end, 1, [&](const Span& rows, const Crew& crew) { f(start, end, rows, crew); });
    team_reached(team, end);
  }
}

}  // namespace
