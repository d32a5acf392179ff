// One direction of one layer, backward. Each step is a product of the gradients of z with packed weight_hh, a block of
// units at a time, and the slopes of that block's gates. What the weights get is summed after every few steps.
#pragma once
#include "back.h"

namespace {

// What one unit block of one step adds to the gradients that are sums over steps and rows, elementwise over units.
template <class T> struct Sums {
  Vec<T> bias[6][2], peep[3][2];
};

template <class T> struct Backward {
  static constexpr int W = kWide<T>, L = kLanes<T>;
  const Shape<T> s;
  Team* team;
  Memory memory;
  Order order{};
  T *of_h, *of_r, *of_x, *dz, *dh, *dc, *m, *dm, *dprojected, *tile, *bias_sums;
  const T** pointers;                   // [members][kRowChunk]
  const T **z_rows, **x_rows, **h_rows, **masks, **m_rows, **dh_rows;  // [rows of the steps done at once]
  Outer<T> outer{};
  int64_t tile_size;
  const int64_t dz_width, sum_rows, sum_blocks;  // sums over steps and rows are made of those of so many rows
  const Recent recent;                           // of dz, m and dprojected

  Backward(const Job& job, Team* team)
    : s(job), team(team), dz_width(apart<T>(s.all_width)), sum_rows(parts(s.rows, 64) * 4), sum_blocks(parts(s.rows, sum_rows)), recent(s, dz_width) {}

  bool run() {
    if (!prepare()) return false;
    pack();
    clear(s, kDWeightIh, s.width * s.inputs), clear(s, kDWeightXh, s.hidden * s.inputs);
    clear(s, kDWeightHh, s.width * s.state), clear(s, kDWeightHr, s.state * s.hidden);
    auto weights = [&](int64_t start, int64_t end) { of_weights(start, end); };
    auto inputs = [&](int64_t start, int64_t end) {
      of_inputs(team, s, start, end, s.all_width, of_x, tile, tile_size, pointers, [&](int64_t t, int64_t b) { return dz_row(t, b); });
    };
    backwards(team, s, order, recent, sum_rows, [&](const StepBack& one, const Crew& crew) { step(one, crew); }, weights, inputs);
    states();
    return true;
  }

  bool prepare() {
    int members = team_size(team);
    int64_t all = recent.count(), state_panels = parts(s.state, W), widest = s.inputs > s.state ? s.inputs : s.state;
    if (s.hidden > widest) widest = s.hidden;
    tile_size = kRowChunk * W * kAtOnce;
    int64_t o[] = {
      memory.ask<T>(state_panels * W * s.width), memory.ask<T>(s.projected ? s.units * W * s.state : 0),
      memory.ask<T>(s.array(kDx) ? parts(s.inputs, W) * W * s.all_width : 0), memory.ask<T>(all * dz_width),
      memory.ask<T>(s.rows * s.state), memory.ask<T>(s.rows * s.hidden), memory.ask<T>(s.projected ? all * s.hidden : 0),
      memory.ask<T>(s.projected ? s.rows * s.hidden : 0), memory.ask<T>(s.projected ? all * s.state : 0),
      memory.ask<T>(members * tile_size), memory.ask<T>(sum_blocks * s.units * W * 9),
      memory.ask<T>(Outer<T>::panel_size(s.inputs) + Outer<T>::panel_size(widest)), memory.ask<T>(Outer<T>::turned_size(members)),
      memory.ask<T*>(members * kRowChunk), memory.ask<T*>(6 * all), memory.ask<int64_t>(s.rows), memory.ask<int64_t>(s.steps + 1)};
    if (!memory.get()) return false;
    T** to[] = {&of_h, &of_r, &of_x, &dz, &dh, &dc, &m, &dm, &dprojected, &tile, &bias_sums, &outer.panels, &outer.turned};
    for (int k = 0; k < 13; k++) *to[k] = memory.at<T>(o[k]);
    pointers = memory.at<const T*>(o[13]);
    const T*** lists[] = {&z_rows, &x_rows, &h_rows, &masks, &m_rows, &dh_rows};
    for (int k = 0; k < 6; k++) *lists[k] = memory.at<const T*>(o[14]) + k * all;
    order = {memory.at<int64_t>(o[15]), memory.at<int64_t>(o[16])};
    order.fill(s);
    outer.team = team;
    start<T>(dh, s.array(kDhn), s.rows * s.state), start<T>(dc, s.array(kDcn), s.rows * s.hidden);
    memset(bias_sums, 0, sum_blocks * s.units * W * 9 * sizeof(T));
    return true;
  }

  void pack() {
    pack_columns<T>(team, s.width, s.state, [&](int64_t k) { return s.array(kWeightHh) + k * s.state; }, of_h);
    if (s.projected) pack_columns<T>(team, s.state, s.hidden, [&](int64_t k) { return s.array(kWeightHr) + k * s.hidden; }, of_r);
    if (s.array(kDx)) pack_columns<T>(team, s.all_width, s.inputs, [&](int64_t k) {
      return k < s.width ? s.array(kWeightIh) + k * s.inputs : s.array(kWeightXh) + (k - s.width) * s.inputs;
    }, of_x);
  }

  T* dz_row(int64_t t, int64_t b) const { return dz + recent.at(t, b) * dz_width; }

  void step(const StepBack& one, const Crew& crew) {
    const int64_t t = one.t, before = one.before;
    const Span &active = one.active, &seen = one.seen;
    if (!s.projected) {
      // Several blocks at once where enough are left to share.
      const int64_t some = s.units >= 4 * kAtOnce * crew.size() ? kAtOnce : 1;
      crew.each(parts(s.units, some), [&](int64_t item, int member) {
        const int64_t from = item * some, to = at_most(from + some, s.units);
        carried(before, seen, from, to, member, crew.shared());
        for (int64_t u = from; u < to; u++) units(t, active, u, member);
      }, t % 2 != 0);
      return;
    }
    crew.each(parts(s.state, W), [&](int64_t p, int member) {
      carried(before, seen, p, p + 1, member, crew.shared());
      for (int64_t k = active.from; k < active.to; k++)
        for (int v = 0; v < W; v += L) unclipped(t, order.row[k], p * W + v);
    });
    crew.each(s.units, [&](int64_t u, int member) {
      unprojected(t, active, u, member);
      units(t, active, u, member);
    });
  }

  // dh of some blocks of features, from the gradients of z of the step before.
  void carried(int64_t before, const Span& seen, int64_t p, int64_t end, int member, bool shared) {
    const T** rows = pointers + member * kRowChunk;
    for (int64_t from = seen.from; from < seen.to; from += kRowChunk) {
      int64_t some = at_most(kRowChunk, seen.to - from);
      for (int64_t i = 0; i < some; i++) rows[i] = dz_row(before, order.row[from + i]);
      if (shared) ask_for<T>(some, rows, s.width);
      const Tile<T> sums{tile + member * tile_size, some, p, end, s.state};
      sums.of(s.width, rows, of_h);
      sums.each([&](int64_t i, int64_t k, int64_t left, Vec<T> one) {
        int64_t at = order.row[from + i] * s.state + k;
        store<T>(dh + at, s.array(kMask) ? one * load<T>(s.array(kMask) + at, left) : one, left);
      });
    }
  }

  // What reaches h of a step: by way of y, and of later steps.
  Vec<T> reaching(int64_t t, int64_t b, int64_t feature) const {
    int64_t left = s.state - feature;
    Vec<T> one = load<T>(dh + b * s.state + feature, left);
    return s.array(kDy) ? one + load<T>(s.dy(t, b) + feature, left) : one;
  }

  void unclipped(int64_t t, int64_t b, int64_t feature) const {
    int64_t left = s.state - feature;
    Vec<T> one = reaching(t, b, feature);
    if (s.proj_clip != 0) one = passed<T>(load<T>(s.array(kRaw) + s.at(t, b) * s.state + feature, left), s.proj_clip, one);
    store<T>(dprojected + recent.at(t, b) * s.state + feature, one, left);
  }

  void unprojected(int64_t t, const Span& active, int64_t u, int member) {
    const T** rows = pointers + member * kRowChunk;
    for (int64_t from = active.from; from < active.to; from += kRowChunk) {
      int64_t some = at_most(kRowChunk, active.to - from);
      for (int64_t i = 0; i < some; i++) rows[i] = dprojected + recent.at(t, order.row[from + i]) * s.state;
      const Tile<T> sums{tile + member * tile_size, some, u, u + 1, s.hidden};
      sums.of(s.state, rows, of_r);
      sums.each([&](int64_t i, int64_t k, int64_t left, Vec<T> one) {
        store<T>(dm + order.row[from + i] * s.hidden + k, one, left);
      });
    }
  }

  // The gates of a block of units, of all rows of a step.
  void units(int64_t t, const Span& active, int64_t u, int member) {
    Sums<T> sums = {};
    T* shown = tile + member * tile_size;
    for (int64_t from = active.from; from < active.to; from += kRowChunk) {
      int64_t some = at_most(kRowChunk, active.to - from), pairs = some / 2 * 2;
      for (int64_t i = 0; i < pairs; i += 2) show<2>(t, from + i, u * W, shown + i * W);
      if (pairs < some) show<1>(t, from + pairs, u * W, shown + pairs * W);
      for (int64_t i = 0; i < some; i++) {
        const T* kept = s.array(kGates) + t * s.line_step + s.in_lines(u, from + i, s.rows);
        for (int v = 0; v < 2; v++)
          if (u * W + v * L < s.hidden) gates(t, order.row[from + i], kept + v * L, u * W + v * L, v, load<T>(shown + i * W + v * L), sums);
        int64_t next = from + i + 1;
        if (next % sum_rows && next < active.to) continue;
        add_up(sums, sums_of((next - 1) / sum_rows, u));
        sums = {};
      }
    }
  }

  T* sums_of(int64_t block, int64_t u) const { return bias_sums + (block * s.units + u) * W * 9; }

  void add_up(const Sums<T>& sums, T* to) const {
    for (int v = 0; v < 2; v++) {
      for (int g = 0; g < s.all_groups; g++) add(to + (g * 2 + v) * L, sums.bias[g][v]);
      for (int k = 0; k < 5; k++)
        if (s.peep[k] >= 0) add(to + (12 + s.peep[k] * 2 + v) * L, sums.peep[s.peep[k]][v]);
    }
  }

  // What R rows show of c. Asks for what their gates will read, which lies far apart.
  template <int R> INLINE_MEMBER void show(int64_t t, int64_t n, int64_t unit, T* to) const {
    Vec<T> x[2 * R];
    for (int64_t k = n; k < n + R; k++) {
      int64_t b = order.row[k];
      if (s.array(kDy) && !s.projected) __builtin_prefetch(s.dy(t, b) + unit);
      if (!s.first(t, b)) __builtin_prefetch(s.array(kCells) + s.at(s.before(t), b) * s.hidden + unit);
      const T* kept = s.array(kGates) + t * s.line_step + s.in_lines(unit / W, k, s.rows);
      for (int64_t g = 0; g < s.all_groups; g++) __builtin_prefetch(kept + g * kLine<T>);
    }
#pragma GCC unroll 4
    for (int k = 0; k < 2 * R; k++)
      x[k] = load<T>(s.array(kCells) + s.at(t, order.row[n + k / 2]) * s.hidden + unit + k % 2 * L, s.hidden - unit - k % 2 * L);
    values<T, 2 * R>(s.output, x);
#pragma GCC unroll 4
    for (int k = 0; k < 2 * R; k++) store<T>(to + k * L, x[k]);
  }

  static void add(T* to, Vec<T> more) { store<T>(to, load<T>(to) + more); }

  // A gate as it was: its activation, and how the activation follows z.
  struct Was { Vec<T> value, slope; };
  INLINE_MEMBER Was was(int k, const T* kept) const {
    Vec<T> one = splat((T)1);
    if (s.place[k] < 0) return {one, Vec<T>{}};
    Vec<T> z = load<T>(kept + s.place[k] * kLine<T>);
    const Activation<T>& f = k == 2 ? s.cell : s.gate;
    if (s.keeps_value[k]) return {z, f.kind == kSigmoid ? z * (one - z) : one - z * z};
    Vec<T> inside = s.gate_clip != 0 ? limited<T>(z, -s.gate_clip, s.gate_clip) : z, slope = rare_slope<T>(f, inside);
    return {value<T>(f, inside), s.gate_clip != 0 ? passed<T>(z, s.gate_clip, slope) : slope};
  }

  // Stores the gradient of a group of z, and adds to the sums of its bias and peephole. Returns what reaches `seen`.
  INLINE_MEMBER Vec<T> put(int k, Vec<T> gradient, T* row, int64_t unit, int v, Vec<T> seen, Sums<T>& sums) const {
    store<T>(row + s.place[k] * s.hidden + unit, gradient, s.hidden - unit);
    sums.bias[s.place[k]][v] += gradient;
    const int peep = s.peep[k];
    if (peep < 0) return Vec<T>{};
    sums.peep[peep][v] = fma(gradient, seen, sums.peep[peep][v]);
    return gradient * load<T>(s.array(kWeightCh) + peep * s.hidden + unit, s.hidden - unit);
  }

  // kept: of this block of units. seen: ψ(c).
  INLINE_MEMBER void gates(int64_t t, int64_t b, const T* kept, int64_t unit, int v, Vec<T> seen, Sums<T>& sums) {
    int64_t left = s.hidden - unit, at = s.at(t, b);
    const T* cells = s.array(kCells);
    const T* from = s.first(t, b) ? s.array(kC0) + b * s.hidden : cells + s.at(s.before(t), b) * s.hidden;
    Vec<T> old = load<T>(from + unit, left), c = load<T>(cells + at * s.hidden + unit, left), one = splat((T)1);
    Vec<T> reached = s.projected ? load<T>(dm + b * s.hidden + unit, left) : reaching(t, b, unit);
    Vec<T> of_c = load<T>(dc + b * s.hidden + unit, left);
    if (s.array(kDcells)) of_c += load<T>(s.array(kDcells) + at * s.hidden + unit, left);
    T* row = dz_row(t, b);
    Was o = was(3, kept);
    Vec<T> shown = s.place[3] >= 0 ? o.value * seen : seen;
    if (s.highway) {
      Was r = was(4, kept);
      Vec<T> carry = load<T>(kept + s.groups * kLine<T>), of_carry = reached * (one - r.value);
      store<T>(row + s.groups * s.hidden + unit, of_carry, left);
      sums.bias[s.groups][v] += of_carry;
      put(4, reached * (shown - carry) * r.slope, row, unit, v, c, sums);
      if (s.projected) store<T>(m + recent.at(t, b) * s.hidden + unit, fma(r.value, shown, (one - r.value) * carry), left);
      reached = reached * r.value;
    } else if (s.projected) {
      store<T>(m + recent.at(t, b) * s.hidden + unit, shown, left);
    }
    Vec<T> slope = s.output.kind == kTanh ? one - seen * seen : rare_slope<T>(s.output, c);
    of_c = fma(s.place[3] >= 0 ? reached * o.value : reached, slope, of_c);
    if (s.place[3] >= 0) of_c += put(3, reached * seen * o.slope, row, unit, v, c, sums);
    store<T>(dc + b * s.hidden + unit, into_cell(kept, row, unit, v, old, of_c, sums), left);
  }

  // c = clip(f c' + i g) and its gates. Returns what reaches c'.
  INLINE_MEMBER Vec<T> into_cell(const T* kept, T* row, int64_t unit, int v, Vec<T> old, Vec<T> of_c, Sums<T>& sums) const {
    bool coupled = s.job.number[kHas] & kCoupled;
    Vec<T> one = splat((T)1);
    Was i = was(0, kept), f = was(1, kept), g = was(2, kept);
    if (coupled) f.value = one - i.value;
    if (s.cell_clip != 0) of_c = passed<T>(fma(f.value, old, i.value * g.value), s.cell_clip, of_c);
    Vec<T> of_old = of_c * f.value;
    put(2, of_c * i.value * g.slope, row, unit, v, old, sums);
    if (s.place[0] >= 0) of_old += put(0, of_c * (coupled ? g.value - old : g.value) * i.slope, row, unit, v, old, sums);
    if (s.place[1] >= 0) of_old += put(1, of_c * old * f.slope, row, unit, v, old, sums);
    return of_old;
  }

  void states() const {
    if (s.array(kDh0)) memcpy(s.array(kDh0), dh, s.rows * s.state * sizeof(T));
    if (s.array(kDc0)) memcpy(s.array(kDc0), dc, s.rows * s.hidden * sizeof(T));
    for (int64_t block = 1; block < sum_blocks; block++)
      for (int64_t k = 0; k < s.units * W * 9; k += L) add(sums_of(0, 0) + k, load<T>(sums_of(block, 0) + k));
    for (int64_t k = 0; k < s.hidden; k++) {
      int64_t u = k / W, v = k % W / L, lane = k % L;
      const T* from = sums_of(0, u) + v * L + lane;
      for (int64_t g = 0; g < s.groups; g++)
        if (s.array(kDBias)) s.array(kDBias)[g * s.hidden + k] = from[g * W];
      if (s.highway && s.array(kDBiasXh)) s.array(kDBiasXh)[k] = from[s.groups * W];
      for (int n = 0; n < 5; n++)
        if (s.peep[n] >= 0 && s.array(kDWeightCh)) s.array(kDWeightCh)[s.peep[n] * s.hidden + k] = from[12 * L + s.peep[n] * W];
    }
  }

  // Some steps of every row, step by step.
  int64_t list(int64_t start, int64_t end) {
    int64_t count = 0;
    each_row(s, start, end, [&](int64_t t, int64_t b) {
      const int64_t at = recent.at(t, b);
      z_rows[count] = dz_row(t, b), x_rows[count] = s.x(t, b), h_rows[count] = s.h_before(t, b);
      masks[count] = s.array(kMask) ? s.array(kMask) + b * s.state : nullptr;
      m_rows[count] = m + at * s.hidden, dh_rows[count] = dprojected + at * s.state;
      count++;
    });
    return count;
  }

  void of_weights(int64_t start, int64_t end) {
    int64_t count = list(start, end);
    Rows<T> x{x_rows, nullptr}, h{h_rows, s.array(kMask) ? masks : nullptr};
    outer.run(count, z_rows, s.width, {x, s.inputs, s.array(kDWeightIh)}, {h, s.state, s.array(kDWeightHh)});
    if (s.projected) outer.run(count, dh_rows, s.state, {{m_rows, nullptr}, s.hidden, s.array(kDWeightHr)});
    if (!s.highway || !s.array(kDWeightXh)) return;
    for (int64_t n = 0; n < count; n++) z_rows[n] += s.width;
    outer.run(count, z_rows, s.hidden, {x, s.inputs, s.array(kDWeightXh)});
  }
};

}  // namespace
