// One direction of one layer, forward. Each step is a product of the rows' h with packed weights, a block of units at
// a time, and the gates of that block while its pre-activations are in the cache.
#pragma once
#include "shape.h"

namespace {

constexpr int64_t kManyRows = 12;  // make a good product of one step

template <class T> struct Forward {
  static constexpr int W = kWide<T>, L = kLanes<T>;
  const Shape<T> s;
  Team* team;
  Memory memory;
  Lasting lasting;
  Order order{};
  T *of_x, *of_h, *of_r, *bias, *z_chunk, *c_now, *h_read, *m, *tile;
  const T** pointers;  // [members][2 * kRowChunk]
  int64_t chunk, tile_size;
  Packed* const packed;  // null: weights are packed for this call alone
  const bool direct_x, direct_h;  // are the weights used so seldom that they are not packed?

  Forward(const Job& job, Team* team)
    : s(job), team(team), packed((Packed*)job.array[kPacked]), direct_x(!packed && s.steps * s.rows <= kRowChunk), direct_h(!packed && s.steps <= 2) {}

  bool run() {
    if (!prepare()) return false;
    if (s.steps == 1 && s.rows <= kRowChunk) {
      only_step();
      return true;
    }
    if (!lasting.there) each(team, s.units, [&](int64_t u, int) { pack(u); });
    pack_projection();
    forwards(team, s, order, chunk, [&](int64_t start, int64_t end, const Span& rows, const Crew& crew) {
      project_x(start, end, rows, crew);
      for (int64_t n = start; n < end; n++) step(s.time(n), n - start, rows, crew);
    });
    s.finish(c_now, s.hidden);
    return true;
  }

  // A call of one step and few rows, one block of units after another from x to h: the members meet once.
  void only_step() {
    const Span all{0, s.rows};
    each(team, s.units, [&](int64_t u, int member) {
      if (!lasting.there) pack(u);
      project(0, 1, all, 0, u, u + 1, member);
      unit_block(0, 0, all, u, member, false);
    }, packed && packed->calls++ % 2);
    pack_projection();
    after_units(0, all, {team, 0});
    s.finish(c_now, s.hidden);
  }

  bool prepare() {
    int members = team_size(team);
    bool keeps = s.array(kGates) != nullptr;
    chunk = at_most(s.steps, parts(kStepsRows, s.rows));
    tile_size = kRowChunk * s.line_row + kTurnedSize<T>;
    Parts& packs = packed ? (Parts&)lasting : memory;
    int64_t o[] = {
      packs.ask<T>(direct_x ? 0 : s.units * s.all_groups * W * s.inputs), packs.ask<T>(direct_h ? 0 : s.units * s.groups * W * s.state),
      packs.ask<T>(s.projected && !direct_h ? parts(s.state, W) * W * s.hidden : 0), packs.ask<T>(s.units * s.all_groups * W),
      memory.ask<T>(keeps ? 0 : chunk * s.line_step), memory.ask<T>(s.array(kCells) ? 0 : s.rows * s.hidden),
      memory.ask<T>(s.array(kMask) ? s.rows * s.state : 0), memory.ask<T>(s.projected ? s.rows * s.hidden : 0),
      memory.ask<T>(members * tile_size), memory.ask<T*>(members * 2 * kRowChunk),
      memory.ask<int64_t>(s.rows), memory.ask<int64_t>(s.steps + 1)};
    if (!memory.get() || (packed && !lasting.get(packed, sizeof(T)))) return false;
    T** to[] = {&of_x, &of_h, &of_r, &bias, &z_chunk, &c_now, &h_read, &m, &tile};
    for (int k = 0; k < 9; k++) *to[k] = (k < 4 ? packs : memory).template at<T>(o[k]);
    pointers = memory.at<const T*>(o[9]);
    order = {memory.at<int64_t>(o[10]), memory.at<int64_t>(o[11])};
    order.fill(s);
    if (!s.array(kCells)) memcpy(c_now, s.array(kC0), s.rows * s.hidden * sizeof(T));
    if (s.array(kMask))
      for (int64_t k = 0; k < s.rows * s.state; k++) h_read[k] = s.array(kH0)[k] * s.array(kMask)[k];
    return true;
  }

  // The weights and biases of a block of units: a panel a group.
  void pack(int64_t u) {
    int64_t from = u * W, count = at_most(W, s.hidden - from);
    for (int64_t g = 0; g < s.all_groups; g++) {
      bool carry = g == s.groups;
      int64_t row = carry ? from : g * s.hidden + from, panel = u * s.all_groups + g;
      if (!direct_x) pack_turned<T>(weight_x(u, g), s.inputs, s.inputs, count, of_x + panel * W * s.inputs);
      if (!carry && !direct_h) pack_turned<T>(s.array(kWeightHh) + row * s.state, s.state, s.state, count, of_h + (u * s.groups + g) * W * s.state);
      const T *one = s.array(carry ? kBiasXh : kBias), *two = carry ? nullptr : s.array(kBias2);
      for (int64_t k = 0; k < W; k++)
        bias[panel * W + k] = one && k < count ? (two ? one[row + k] + two[row + k] : one[row + k]) : 0;
    }
  }

  void pack_projection() {
    if (!s.projected || direct_h || lasting.there) return;
    each(team, parts(s.state, W), [&](int64_t p, int) {
      pack_turned<T>(s.array(kWeightHr) + p * W * s.hidden, s.hidden, s.hidden, at_most(W, s.state - p * W), of_r + p * s.hidden * W);
    });
  }

  // The rows of a group's block of units, as they are stored.
  const T* weight_x(int64_t u, int64_t g) const {
    int64_t row = u * W + (g == s.groups ? 0 : g * s.hidden);
    return s.array(g == s.groups ? kWeightXh : kWeightIh) + row * s.inputs;
  }

  // Block u of a row's z of a step: where the gates are kept, or in the chunk, where those of a member's rows lie together.
  T* z_at(int64_t t, int64_t in_chunk, const Span& all, int64_t place, int64_t u) const {
    const Span together = lying_together(all);
    int64_t before = (chunk * all.from + in_chunk * all.count()) * s.lines * s.line_row;
    T* lines = s.array(kGates) ? s.array(kGates) + t * s.line_step : z_chunk + before;
    return lines + s.in_lines(u, place - together.from, together.count());
  }
  Span lying_together(const Span& all) const { return s.array(kGates) ? Span{0, s.rows} : all; }

  // z of some steps, as far as it is of x: pieces of rows, each times cuts of the blocks of units.
  void project_x(int64_t start, int64_t end, const Span& all, const Crew& crew) {
    int64_t steps = end - start, pieces = all.count() >= kManyRows ? steps * parts(all.count(), kRowChunk) : parts(steps * all.count(), kRowChunk);
    int64_t cuts = direct_x ? s.units : at_most(s.units, parts(4 * crew.size(), pieces));
    crew.each(pieces * cuts, [&](int64_t item, int member) {
      project(start, end, all, item / cuts, s.units * (item % cuts) / cuts, s.units * (item % cuts + 1) / cuts, member);
    });
  }

  void project(int64_t start, int64_t end, const Span& all, int64_t piece, int64_t from, int64_t to, int member) {
    if (all.count() >= kManyRows) project_step(start, all, piece, from, to, member);
    else project_steps(start, end, all, piece, from, to, member);
  }

  // Rows of one step: straight into their lines.
  void project_step(int64_t start, const Span& all, int64_t piece, int64_t from, int64_t to, int member) {
    int64_t each_step = parts(all.count(), kRowChunk), n = piece / each_step, part = piece % each_step, t = s.time(start + n);
    Span active = order.active_of(all, t);
    int64_t first = active.from + active.count() * part / each_step, count = active.from + active.count() * (part + 1) / each_step - first;
    const T** rows = pointers + member * 2 * kRowChunk;
    for (int64_t i = 0; i < count; i++) rows[i] = s.x(t, order.row[first + i]);
    for (int64_t u = from; u < to; u++)
      times_weights(u, count, rows, {z_at(t, n, all, first, u), s.line_row, kLine<T>}, tile + member * tile_size);
  }

  // Rows of several steps, which are not evenly apart where they go.
  void project_steps(int64_t start, int64_t end, const Span& all, int64_t piece, int64_t from, int64_t to, int member) {
    const T** rows = pointers + member * 2 * kRowChunk;
    T** lines = (T**)(rows + kRowChunk);
    T* scratch = tile + member * tile_size;
    int64_t count = 0, width = s.all_groups * W, together = lying_together(all).count();
    order.each_step(s, start, end, all, piece, [&](int64_t n, int64_t t, int64_t place) {
      lines[count] = z_at(t, n, all, place, 0), rows[count++] = s.x(t, order.row[place]);
    });
    for (int64_t u = from; u < to; u++) {
      times_weights(u, count, rows, {scratch, width}, scratch + kRowChunk * width);
      for (int64_t i = 0; i < count; i++)
        for (int64_t g = 0; g < s.all_groups; g++)
          memcpy(lines[i] + s.in_lines(u, 0, together) + g * kLine<T>, scratch + i * width + g * W, W * sizeof(T));
    }
  }

  // to = the biases + some rows of x times the weights of a block of units. block: for weights that are not packed.
  void times_weights(int64_t u, int64_t count, const T* const* rows, const Place<T>& to, T* block) const {
    int64_t width = s.all_groups * W;
    for (int64_t i = 0; i < count; i++)
      for (int64_t g = 0; g < s.all_groups; g++) memcpy(to.on(i, g).c, bias + u * width + g * W, W * sizeof(T));
    if (!direct_x) return product<T>(s.inputs, count, rows, of_x + u * width * s.inputs, s.all_groups, to);
    int64_t outputs = s.hidden - u * W;
    turned_product<T>(s.inputs, count, rows, weight_x(u, 0), outputs, s.groups, s.hidden, to, block);
    if (s.highway) turned_product<T>(s.inputs, count, rows, weight_x(u, s.groups), outputs, 1, 0, to.on(0, s.groups), block);
  }

  // The h that a row's step t reads.
  const T* h_of(int64_t t, int64_t b) const {
    if (s.array(kMask)) return h_read + b * s.state;
    return s.h_before(t, b);
  }

  void step(int64_t t, int64_t in_chunk, const Span& all, const Crew& crew) {
    crew.each(s.units, [&](int64_t u, int member) { unit_block(t, in_chunk, all, u, member, crew.shared()); }, t % 2);
    after_units(t, all, crew);
  }

  void after_units(int64_t t, const Span& all, const Crew& crew) {
    Span active = order.active_of(all, t);
    if (s.projected)
      crew.each(parts(s.state, W), [&](int64_t p, int member) { project_h(t, active, p, member); });
    else if (s.array(kMask))
      masked_h(t, active);
    for (int64_t n = active.to; n < all.to; n++) {
      int64_t at = s.at(t, order.row[n]);
      memset(s.y(t, order.row[n]), 0, s.state * sizeof(T));
      if (s.array(kCells)) memset(s.array(kCells) + at * s.hidden, 0, s.hidden * sizeof(T));
    }
  }

  void masked_h(int64_t t, const Span& active) {
    for (int64_t n = active.from; n < active.to; n++) {
      int64_t b = order.row[n];
      const T *h = s.y(t, b), *mask = s.array(kMask) + b * s.state;
      for (int64_t k = 0; k < s.state; k++) h_read[b * s.state + k] = h[k] * mask[k];
    }
  }

  void unit_block(int64_t t, int64_t in_chunk, const Span& all, int64_t u, int member, bool shared) {
    const Span active = order.active_of(all, t);
    T* block = tile + member * tile_size + kRowChunk * s.line_row;
    const T** rows = pointers + member * 2 * kRowChunk;
    for (int64_t start = active.from; start < active.to; start += kRowChunk) {
      int64_t some = at_most(kRowChunk, active.to - start);
      for (int64_t i = 0; i < some; i++) rows[i] = h_of(t, order.row[start + i]);
      if (shared) ask_for<T>(some, rows, s.state);
      Place<T> z{z_at(t, in_chunk, all, start, u), s.line_row, kLine<T>};
      if (direct_h)
        turned_product<T>(s.state, some, rows, s.array(kWeightHh) + u * W * s.state, s.hidden - u * W, s.groups, s.hidden, z, block);
      else product<T>(s.state, some, rows, of_h + u * s.groups * W * s.state, s.groups, z);
      cells(t, start, some, u * W, z.c, block - kRowChunk * s.line_row);
    }
  }

  // Of some rows and a block of units: where c is before and after the step, and where its result goes.
  struct Lines { const T* old[kRowChunk]; T *c[kRowChunk], *out[kRowChunk]; };

  // From z to c and h, a gate of all rows after another. Activations take the place of z, or are in the tile where
  // it is z that is kept.
  void cells(int64_t t, int64_t start, int64_t some, int64_t unit, T* z, T* aside) const {
    Lines l;
    for (int64_t i = 0; i < some; i++) {
      int64_t b = order.row[start + i], at = s.at(t, b) * s.hidden + unit;
      T *cells = s.array(kCells), *now = c_now + b * s.hidden + unit;
      l.old[i] = !cells ? now : s.first(t, b) ? s.array(kC0) + b * s.hidden + unit : cells + s.at(s.before(t), b) * s.hidden + unit;
      l.c[i] = cells ? cells + at : now;
      l.out[i] = s.projected ? m + b * s.hidden + unit : s.y(t, b) + unit;
    }
    T* a[5];
    for (int k = 0; k < 5; k++) a[k] = s.place[k] < 0 ? nullptr : kept_as_z(k) ? aside + s.place[k] * kLine<T> : z + s.place[k] * kLine<T>;
    for (int k = 0; k < 3; k++) gate(k, some, unit, z, a[k], l.old);
    for (int64_t i = 0; i < some; i++)
      for (int64_t v = 0; v < W && unit + v < s.hidden; v += L) new_cell(l, i, v, s.hidden - unit - v, a);
    gate(3, some, unit, z, a[3], l.c), gate(4, some, unit, z, a[4], l.c);
    int64_t pairs = some / 2 * 2;
    for (int64_t i = 0; i < pairs; i += 2) results<2>(l, i, unit, z, a);
    if (pairs < some) results<1>(l, pairs, unit, z, a);
  }

  bool kept_as_z(int k) const { return s.array(kGates) && !s.keeps_value[k]; }

  // The activations of a gate. seen: what its peephole sees.
  void gate(int k, int64_t some, int64_t unit, T* z, T* to, const T* const* seen) const {
    if (s.place[k] < 0) return;
    z += s.place[k] * kLine<T>;
    const int peep = s.peep[k];
    const T* weight = peep >= 0 ? s.array(kWeightCh) + peep * s.hidden + unit : nullptr;
    int64_t pairs = some / 2 * 2;
    for (int64_t i = 0; i < pairs; i += 2) activate<2>(k, i, s.hidden - unit, z, to, weight, seen);
    if (pairs < some) activate<1>(k, pairs, s.hidden - unit, z, to, weight, seen);
  }

  // Of R rows, one after the other.
  template <int R> INLINE_MEMBER void activate(int k, int64_t i, int64_t left, T* z, T* to, const T* weight, const T* const* seen) const {
    Vec<T> x[2 * R];
#pragma GCC unroll 4
    for (int n = 0; n < 2 * R; n++) {
      int64_t at = (i + n / 2) * s.line_row + n % 2 * L, more = left - n % 2 * L;
      x[n] = load<T>(z + at);
      if (weight) x[n] = fma(load<T>(weight + n % 2 * L, more), load<T>(seen[i + n / 2] + n % 2 * L, more), x[n]);
      if (weight && to != z) store<T>(z + at, x[n]);
      if (s.gate_clip != 0) x[n] = limited<T>(x[n], -s.gate_clip, s.gate_clip);
    }
    values<T, 2 * R>(k == 2 ? s.cell : s.gate, x);
#pragma GCC unroll 4
    for (int n = 0; n < 2 * R; n++) store<T>(to + (i + n / 2) * s.line_row + n % 2 * L, x[n]);
  }

  INLINE_MEMBER void new_cell(const Lines& l, int64_t i, int64_t v, int64_t left, T* const* a) const {
    int64_t at = i * s.line_row + v;
    Vec<T> old = load<T>(l.old[i] + v, left), one = splat((T)1), in = one, c = load<T>(a[2] + at);
    if (a[0]) in = load<T>(a[0] + at), c = in * c;
    if (s.job.number[kHas] & kCoupled) c = fma(one - in, old, c);
    else if (a[1]) c = fma(load<T>(a[1] + at), old, c);
    else c = old + c;
    if (s.cell_clip != 0) c = limited<T>(c, -s.cell_clip, s.cell_clip);
    store<T>(l.c[i] + v, c, left);
  }

  // What R rows show of c, and what a highway carries beside it.
  template <int R> INLINE_MEMBER void results(const Lines& l, int64_t i, int64_t unit, const T* z, T* const* a) const {
    Vec<T> out[2 * R];
#pragma GCC unroll 4
    for (int n = 0; n < 2 * R; n++) out[n] = load<T>(l.c[i + n / 2] + n % 2 * L, s.hidden - unit - n % 2 * L);
    values<T, 2 * R>(s.output, out);
#pragma GCC unroll 4
    for (int n = 0; n < 2 * R; n++) {
      int64_t at = (i + n / 2) * s.line_row + n % 2 * L;
      if (a[3]) out[n] = load<T>(a[3] + at) * out[n];
      if (a[4]) {
        Vec<T> r = load<T>(a[4] + at), carry = load<T>(z + s.groups * kLine<T> + at);
        out[n] = fma(r, out[n], (splat((T)1) - r) * carry);
      }
      store<T>(l.out[i + n / 2] + n % 2 * L, out[n], s.hidden - unit - n % 2 * L);
    }
  }

  void project_h(int64_t t, const Span& active, int64_t p, int member) {
    T* block = tile + member * tile_size + kRowChunk * W;
    const T** rows = pointers + member * 2 * kRowChunk;
    for (int64_t start = active.from; start < active.to; start += kRowChunk) {
      int64_t some = at_most(kRowChunk, active.to - start);
      for (int64_t i = 0; i < some; i++) rows[i] = m + order.row[start + i] * s.hidden;
      const Tile<T> sums{tile + member * tile_size, some, p, p + 1, s.state};
      if (direct_h) {
        sums.clear();
        turned_product<T>(s.hidden, some, rows, s.array(kWeightHr) + p * W * s.hidden, s.state - p * W, 1, 0, sums.place(), block);
      } else {
        sums.of(s.hidden, rows, of_r);
      }
      sums.each([&](int64_t i, int64_t k, int64_t left, Vec<T> h) { put_h(t, order.row[start + i], h, k, left); });
    }
  }

  void put_h(int64_t t, int64_t b, Vec<T> h, int64_t feature, int64_t left) const {
    int64_t at = s.at(t, b) * s.state + feature;
    if (s.array(kRaw)) store<T>(s.array(kRaw) + at, h, left);
    if (s.proj_clip != 0) h = limited<T>(h, -s.proj_clip, s.proj_clip);
    store<T>(s.y(t, b) + feature, h, left);
    if (s.array(kMask)) store<T>(h_read + b * s.state + feature, h * load<T>(s.array(kMask) + b * s.state + feature, left), left);
  }
};

}  // namespace
