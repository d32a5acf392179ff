// One direction of one layer, backward, for cells whose rows are treated as a whole.
#pragma once
#include "back.h"
#include "whole_forward.h"
#include "whole_row_back.h"

namespace {

template <class T> struct WholeBackward {
  static constexpr int W = kWide<T>, L = kLanes<T>;
  const Whole<T> w;
  const Shape<T>& s;
  Team* team;
  Memory memory;
  Order order{};
  T *of_h, *of_gates, *of_r, *of_x, *dz, *dz_h, *dz_gates, *dh, *dh_kept, *d_c, *m, *dm, *dprojected, *tile, *scratch, *sums;
  const T** pointers;  // [members][kRowChunk]
  const T** list[8];   // of the rows of the steps done at once: see of_weights
  Outer<T> outer{};
  int64_t tile_size, scratch_size;
  const int64_t again, head_rows;  // head_rows: of z that read the h of one head
  const Recent recent;  // of dz, dz_h, dz_gates, m and dprojected

  WholeBackward(const Job& job, Team* team)
    : w(job), s(w.s), team(team), again(w.seen_again * s.hidden), head_rows(w.width / w.heads), recent(s, apart<T>(w.all_width) + (w.joint ? apart<T>(w.width) : 0) + again) {}

  bool run() {
    if (!prepare()) return false;
    pack();
    clear(s, kDWeightIh, w.width * s.inputs), clear(s, kDWeightXh, s.hidden * s.inputs), clear(s, kDWeightXa, w.lane_units * s.inputs);
    clear(s, kDWeightHh, w.width * w.depth), clear(s, kDWeightGg, again * again), clear(s, kDWeightHr, s.state * s.hidden);
    auto weights = [&](int64_t start, int64_t end) { of_weights(start, end); };
    auto inputs = [&](int64_t start, int64_t end) {
      of_inputs(team, s, start, end, w.all_width, of_x, tile, tile_size, pointers, [&](int64_t t, int64_t b) { return dz_row(t, b); });
    };
    backwards(team, s, order, recent, 1, [&](const StepBack& one, const Crew& crew) { step(one, crew); }, weights, inputs);
    results();
    return true;
  }

  bool prepare() {
    int64_t members = team_size(team), all = recent.count(), widest = s.inputs > s.hidden ? s.inputs : s.hidden;
    if (again > widest) widest = again;
    tile_size = kRowChunk * kBunch * W, scratch_size = BackwardRow<T>::scratch_size(w) + w.padded();
    T** to[] = {&of_h, &of_gates, &of_r, &of_x, &dz, &dz_h, &dz_gates, &dh, &dh_kept, &d_c, &m, &dm, &dprojected, &tile, &scratch,
                &sums, &outer.panels, &outer.turned};
    const int64_t sizes[] = {
      w.head_sections() ? columns(w.depth) * w.width : 0, columns(again) * again, s.projected ? columns(s.hidden) * s.state : 0,
      s.array(kDx) ? columns(s.inputs) * w.all_width : 0, all * apart<T>(w.all_width), w.joint ? all * apart<T>(w.width) : 0, all * again,
      s.rows * s.state, w.zoned_h() ? s.rows * s.state : 0, s.rows * w.slots_width, s.projected ? all * s.hidden : 0,
      s.projected ? s.rows * s.hidden : 0, s.projected ? all * s.state : 0, members * tile_size, members * scratch_size,
      s.rows * w.sums_width, Outer<T>::panel_size(widest), Outer<T>::turned_size(members)};
    constexpr int count = sizeof sizes / sizeof *sizes;
    int64_t o[count];
    for (int k = 0; k < count; k++) o[k] = memory.ask<T>(sizes[k]);
    int64_t rest[] = {memory.ask<T*>(members * kRowChunk), memory.ask<T*>(8 * all), memory.ask<int64_t>(s.rows), memory.ask<int64_t>(s.steps + 1)};
    if (!memory.get()) return false;
    for (int k = 0; k < count; k++) *to[k] = memory.at<T>(o[k]);
    pointers = memory.at<const T*>(rest[0]);
    for (int k = 0; k < 8; k++) list[k] = memory.at<const T*>(rest[1]) + k * all;
    order = {memory.at<int64_t>(rest[2]), memory.at<int64_t>(rest[3])};
    order.fill(s);
    outer.team = team;
    start<T>(dh, s.array(kDhn), s.rows * s.state), start<T>(d_c, s.array(kDcn), s.rows * w.slots_width);
    memset(sums, 0, s.rows * w.sums_width * sizeof(T));
    return true;
  }

  static int64_t columns(int64_t count) { return parts(count, W) * W; }

  void pack() {
    for (int64_t head = 0; head < w.heads && w.head_sections(); head++)
      pack_columns<T>(team, head_rows, w.depth, [&](int64_t k) { return s.array(kWeightHh) + w.row_of_head(head, k) * w.depth; }, panels_of_head(head));
    pack_columns<T>(team, again, again, [&](int64_t k) { return s.array(kWeightGg) + k * again; }, of_gates);
    if (s.projected) pack_columns<T>(team, s.state, s.hidden, [&](int64_t k) { return s.array(kWeightHr) + k * s.hidden; }, of_r);
    if (s.array(kDx)) pack_columns<T>(team, w.all_width, s.inputs, [&](int64_t k) { return w.of_x(k); }, of_x);
  }

  T* panels_of_head(int64_t head) const { return of_h + head * head_rows * columns(w.depth); }

  T* dz_row(int64_t t, int64_t b) const { return dz + recent.at(t, b) * apart<T>(w.all_width); }
  T* dz_h_row(int64_t t, int64_t b) const { return w.joint ? dz_h + recent.at(t, b) * apart<T>(w.width) : dz_row(t, b); }
  T* dz_gates_row(int64_t t, int64_t b) const { return dz_gates + recent.at(t, b) * again; }
  const T* c_before(int64_t t, int64_t b) const {
    return s.first(t, b) ? s.array(kC0) + b * w.slots_width : s.array(kCells) + s.at(s.before(t), b) * w.slots_width;
  }

  void step(const StepBack& one, const Crew& crew) {
    const int64_t t = one.t, before = one.before;
    const Span &active = one.active, &seen = one.seen;
    int64_t of_state = w.heads * bunches_of_head(), of_again = parts(parts(again, W), kBunch);
    crew.each(of_state + of_again, [&](int64_t item, int member) {
      if (item >= of_state) return again_carried(before, seen, item - of_state, member);
      carried(before, seen, item, member);
      if (s.projected)
        for (int64_t k = active.from; k < active.to; k++) unclipped(t, order.row[k], item);
    }, t % 2 != 0);
    if (s.projected)
      crew.each(parts(parts(s.hidden, W), kBunch), [&](int64_t item, int member) { unprojected(t, active, item, member); });
    crew.each(active.count(), [&](int64_t k, int member) { row(t, order.row[active.from + k], member); });
  }

  int64_t bunches_of_head() const { return w.head_sections() ? parts(parts(w.depth, W), kBunch) : 1; }

  // A bunch of panels.
  Tile<T> bunch(int64_t columns, int64_t item, int64_t rows, int member) const {
    int64_t first = item * kBunch;
    return {tile + member * tile_size, rows, first, at_most(parts(columns, W), first + kBunch), columns};
  }

  // dh of some features, from the gradients of z of the step before.
  void carried(int64_t before, const Span& seen, int64_t item, int member) {
    const T** rows = pointers + member * kRowChunk;
    if (!w.head_sections()) {  // nothing reads h
      for (int64_t n = seen.from; n < seen.to; n++)
        vectors<T>(s.state, [&](int64_t k, int64_t left) { reached(order.row[n], k, left, Vec<T>{}, false); });
      return;
    }
    const int64_t head = item / bunches_of_head(), first = head * w.head_sections(), end = first + w.head_sections();
    for (int64_t from = seen.from; from < seen.to; from += kRowChunk) {
      int64_t some = at_most(kRowChunk, seen.to - from);
      const Tile<T> sums = bunch(w.depth, item % bunches_of_head(), some, member);
      for (int64_t n = first; n < end; n++) {
        auto section = w.section(n);
        for (int64_t i = 0; i < some; i++) rows[i] = dz_h_row(before, order.row[from + i]) + section.at;
        if (w.sections() == 1) {
          sums.of(w.width, rows, of_h);
        } else {
          sums.clear();
          for (int64_t p = sums.first; p < sums.end; p++)
            product<T>(section.size, some, rows, panels_of_head(head) + (p * head_rows + section.packed) * W, 1, sums.place().on(0, p - sums.first));
        }
        sums.each([&](int64_t i, int64_t k, int64_t left, Vec<T> one) {
          int64_t b = order.row[from + i];
          k += section.from;
          if (const T* mask = w.mask(n, b)) one = one * load<T>(mask + k, left);
          reached(b, k, left, one, n > first);
        });
      }
    }
  }
  void reached(int64_t b, int64_t k, int64_t left, Vec<T> one, bool more) const {
    const int64_t at = b * s.state + k;
    if (more) one = load<T>(dh + at, left) + one;
    else if (w.zoned_h()) one = load<T>(dh_kept + at, left) + one;
    store<T>(dh + at, one, left);
  }

  // What reaches the gates of the step before by being seen again.
  void again_carried(int64_t before, const Span& seen, int64_t item, int member) {
    const T** rows = pointers + member * kRowChunk;
    for (int64_t from = seen.from; from < seen.to; from += kRowChunk) {
      int64_t some = at_most(kRowChunk, seen.to - from);
      for (int64_t i = 0; i < some; i++) rows[i] = dz_gates_row(before, order.row[from + i]);
      const Tile<T> sums = bunch(again, item, some, member);
      sums.of(again, rows, of_gates);
      sums.each([&](int64_t i, int64_t k, int64_t left, Vec<T> one) {
        store<T>(d_c + order.row[from + i] * w.slots_width + w.lane_units + k, one, left);
      });
    }
  }

  // What reaches the h that a step made: by way of y, and of later steps; what zoneout kept of the old one is put aside.
  Vec<T> reaching(int64_t t, int64_t b, int64_t k, int64_t left) const {
    int64_t at = b * s.state + k;
    Vec<T> all = load<T>(dh + at, left);
    if (s.array(kDy)) all += load<T>(s.dy(t, b) + k, left);
    if (!w.zoned_h()) return all;
    Vec<T> let = all * w.let_h(t, b, k, left);
    store<T>(dh_kept + at, all - let, left);
    return let;
  }

  void unclipped(int64_t t, int64_t b, int64_t item) const {
    int64_t first = item * kBunch * W, end = at_most(s.state, first + kBunch * W);
    vectors<T>(end - first, [&](int64_t j, int64_t left) {
      int64_t k = first + j;
      Vec<T> one = reaching(t, b, k, left);
      if (s.proj_clip != 0) one = passed<T>(load<T>(s.array(kRaw) + s.at(t, b) * s.state + k, left), s.proj_clip, one);
      store<T>(dprojected + recent.at(t, b) * s.state + k, one, left);
    });
  }

  void unprojected(int64_t t, const Span& active, int64_t item, int member) {
    const T** rows = pointers + member * kRowChunk;
    for (int64_t from = active.from; from < active.to; from += kRowChunk) {
      int64_t some = at_most(kRowChunk, active.to - from);
      for (int64_t i = 0; i < some; i++) rows[i] = dprojected + recent.at(t, order.row[from + i]) * s.state;
      const Tile<T> sums = bunch(s.hidden, item, some, member);
      sums.of(s.state, rows, of_r);
      sums.each([&](int64_t i, int64_t k, int64_t left, Vec<T> one) {
        store<T>(dm + order.row[from + i] * s.hidden + k, one, left);
      });
    }
  }

  void row(int64_t t, int64_t b, int member) const {
    T *mine = scratch + member * scratch_size, *d_made = s.projected ? dm + b * s.hidden : mine, *c = d_c + b * w.slots_width;
    if (!s.projected)
      vectors<T>(s.hidden, [&](int64_t k, int64_t left) { store<T>(d_made + k, reaching(t, b, k, left), left); });
    if (s.array(kDcells)) {
      const T* more = s.array(kDcells) + s.at(t, b) * w.slots_width;
      vectors<T>(w.slots_width, [&](int64_t k, int64_t left) { store<T>(c + k, load<T>(c + k, left) + load<T>(more + k, left), left); });
    }
    const T *kept = s.array(kGates) + s.at(t, b) * w.kept_width, *old = c_before(t, b);
    T *made = s.projected ? m + recent.at(t, b) * s.hidden : nullptr, *dz = dz_row(t, b), *sum = sums + b * w.sums_width;
    if (w.cell == kStabilized) StabilizedRow<T>{w, t, b, old}.back(kept, d_made, c, dz, sum);
    else if (w.cell == kMinimal) MinimalRow<T>{w, t, b, old}.back(kept, d_made, c, dz, sum);
    else BackwardRow<T>{w, t, b, kept, old, d_made, made, c, dz, dz_h_row(t, b), dz_gates_row(t, b), sum, mine + w.padded()}.run();
  }

  void results() const {
    if (s.array(kDh0)) memcpy(s.array(kDh0), dh, s.rows * s.state * sizeof(T));
    if (s.array(kDc0)) memcpy(s.array(kDc0), d_c, s.rows * w.slots_width * sizeof(T));
    total(kDBias, 0, w.width), total(kDBiasXh, w.carry_at, s.hidden), total(kDBiasXa, w.attend_at, w.lane_units);
    total(w.joint ? kDGammaIh : kDGamma, w.sum_norm_at, w.width), total(kDGammaHh, w.sum_norm_h_at, w.width);
    total(kDGammaC, w.sum_gamma_at, w.lane_units), total(kDBetaC, w.sum_beta_at, w.lane_units);
    total(kDWeightCh, w.sum_peep_at, w.lanes * w.peeps * s.hidden);
  }
  void total(Array which, int64_t at, int64_t count) const {
    T* to = s.array(which);
    if (!to) return;
    memcpy(to, sums + at, count * sizeof(T));
    for (int64_t b = 1; b < s.rows; b++)
      vectors<T>(count, [&](int64_t k, int64_t left) {
        store<T>(to + k, load<T>(to + k, left) + load<T>(sums + b * w.sums_width + at + k, left), left);
      });
  }

  enum List { kZ, kZH, kXs, kHs, kMasks, kZGates, kGatesBefore, kSpare };

  void of_weights(int64_t start, int64_t end) {
    auto collect = [&](const T** to, auto of) {
      int64_t count = 0;
      each_row(s, start, end, [&](int64_t t, int64_t b) { to[count++] = of(t, b); });
      return count;
    };
    int64_t count = collect(list[kZ], [&](int64_t t, int64_t b) { return dz_row(t, b); });
    collect(list[kXs], [&](int64_t t, int64_t b) { return s.x(t, b); });
    Rows<T> x{list[kXs], nullptr};
    summed(kDWeightIh, count, list[kZ], 0, w.width, x, s.inputs);
    summed(kDWeightXh, count, list[kZ], w.carry_at, s.hidden, x, s.inputs);
    summed(kDWeightXa, count, list[kZ], w.attend_at, w.lane_units, x, s.inputs);
    collect(list[kZH], [&](int64_t t, int64_t b) { return dz_h_row(t, b); });
    for (int64_t n = 0; n < w.sections() && s.array(kDWeightHh); n++) {
      auto section = w.section(n);
      if (n % w.head_sections() == 0) collect(list[kHs], [&](int64_t t, int64_t b) { return s.h_before(t, b) + section.from; });
      if (w.mask(n, 0)) collect(list[kMasks], [&](int64_t, int64_t b) { return w.mask(n, b) + section.from; });
      Rows<T> h{list[kHs], w.mask(n, 0) ? list[kMasks] : nullptr};
      summed(kDWeightHh, count, list[kZH], section.at, section.size, h, w.depth, section.at * w.depth);
    }
    if (again) {
      collect(list[kZGates], [&](int64_t t, int64_t b) { return dz_gates_row(t, b); });
      collect(list[kGatesBefore], [&](int64_t t, int64_t b) { return c_before(t, b) + w.lane_units; });
      summed(kDWeightGg, count, list[kZGates], 0, again, {list[kGatesBefore], nullptr}, again);
    }
    if (!s.projected) return;
    collect(list[kZ], [&](int64_t t, int64_t b) { return dprojected + recent.at(t, b) * s.state; });
    collect(list[kHs], [&](int64_t t, int64_t b) { return m + recent.at(t, b) * s.hidden; });
    summed(kDWeightHr, count, list[kZ], 0, s.state, {list[kHs], nullptr}, s.hidden);
  }

  // Sums of the outer products of columns `at` on of a with b.
  void summed(Array which, int64_t count, const T* const* a, int64_t at, int64_t M, Rows<T> b, int64_t N, int64_t to = 0) {
    if (!s.array(which)) return;
    for (int64_t k = 0; k < count; k++) list[kSpare][k] = a[k] + at;
    outer.run(count, list[kSpare], M, {b, N, s.array(which) + to});
  }
};

}  // namespace
