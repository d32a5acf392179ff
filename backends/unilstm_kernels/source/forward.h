// One direction of one layer, forward. Each step is a product of the rows' h with packed weights, a block of units at
// a time, and the gates of that block while its pre-activations are in the cache.
#pragma once
#include "shape.h"

namespace {

template <class T> struct Forward {
  static constexpr int W = kWide<T>, L = kLanes<T>;
  const Shape<T> s;
  Team* team;
  Memory memory;
  Order order{};
  T *of_x, *of_h, *of_r, *bias, *z_chunk, *c_now, *h_read, *m, *tile;
  const T** pointers;  // [members][2 * kRowChunk]
  int64_t chunk, tile_size;
  const bool direct_x, direct_h;  // are the weights used so seldom that they are not packed?

  Forward(const Job& job, Team* team) : s(job), team(team), direct_x(s.steps * s.rows <= kRowChunk), direct_h(s.steps <= 2) {}

  bool run() {
    if (!prepare()) return false;
    each(team, s.units, [&](int64_t u, int) { pack(u); });
    if (s.projected && !direct_h) each(team, parts(s.state, W), [&](int64_t p, int) {
      pack_turned<T>(s.array(kWeightHr) + p * W * s.hidden, s.hidden, s.hidden, at_most(W, s.state - p * W), of_r + p * s.hidden * W);
    });
    for (int64_t start = 0; start < s.steps; start += chunk) {
      int64_t end = at_most(s.steps, start + chunk);
      int64_t chunks = parts((end - start) * s.rows, kRowChunk), cuts = at_most(s.units, parts(4 * team_size(team), chunks));
      if (direct_x) cuts = s.units;
      each(team, chunks * cuts, [&](int64_t item, int member) { project_x(start, end, item / cuts, item % cuts, cuts, member); });
      for (int64_t n = start; n < end; n++) step(s.time(n), n - start);
    }
    s.finish(c_now, s.hidden);
    return true;
  }

  bool prepare() {
    int members = team_size(team);
    bool keeps = s.array(kGates) != nullptr;
    chunk = at_most(s.steps, parts(kStepsRows, s.rows));
    tile_size = kRowChunk * s.all_groups * W + kTurnedSize<T>;
    int64_t o[] = {
      memory.ask<T>(direct_x ? 0 : s.units * s.all_groups * W * s.inputs), memory.ask<T>(direct_h ? 0 : s.units * s.groups * W * s.state),
      memory.ask<T>(s.projected && !direct_h ? parts(s.state, W) * W * s.hidden : 0), memory.ask<T>(s.units * s.all_groups * W),
      memory.ask<T>(keeps ? 0 : chunk * s.rows * s.all_width), memory.ask<T>(s.array(kCells) ? 0 : s.rows * s.hidden),
      memory.ask<T>(s.array(kMask) ? s.rows * s.state : 0), memory.ask<T>(s.projected ? s.rows * s.hidden : 0),
      memory.ask<T>(members * tile_size), memory.ask<T*>(members * 2 * kRowChunk),
      memory.ask<int64_t>(s.rows), memory.ask<int64_t>(s.steps)};
    if (!memory.get()) return false;
    T** to[] = {&of_x, &of_h, &of_r, &bias, &z_chunk, &c_now, &h_read, &m, &tile};
    for (int k = 0; k < 9; k++) *to[k] = memory.at<T>(o[k]);
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

  // The rows of a group's block of units, as they are stored.
  const T* weight_x(int64_t u, int64_t g) const {
    int64_t row = u * W + (g == s.groups ? 0 : g * s.hidden);
    return s.array(g == s.groups ? kWeightXh : kWeightIh) + row * s.inputs;
  }

  // z of a step and row, before h has been added: where the gates are kept, or in the chunk.
  T* z(int64_t t, int64_t b, int64_t in_chunk) const {
    return s.array(kGates) ? s.array(kGates) + s.at(t, b) * s.all_width : z_chunk + (in_chunk * s.rows + b) * s.all_width;
  }

  // z of a chunk of rows, and of one of the parts that the blocks of units are cut into.
  void project_x(int64_t start, int64_t end, int64_t item, int64_t cut, int64_t cuts, int member) {
    const T** rows = pointers + member * 2 * kRowChunk;
    T** to = (T**)(rows + kRowChunk);
    T* scratch = tile + member * tile_size;
    int64_t count = 0, last = at_most((end - start) * s.rows, (item + 1) * kRowChunk);
    for (int64_t k = item * kRowChunk; k < last; k++) {
      int64_t n = k / s.rows, b = k % s.rows, t = s.time(start + n);
      if (t >= s.length(b)) continue;
      to[count] = z(t, b, n), rows[count++] = s.x(t, b);
    }
    for (int64_t u = s.units * cut / cuts; u < s.units * (cut + 1) / cuts; u++) {
      if (direct_x) project_turned(u, count, rows, to, scratch);
      else project_packed(u, count, rows, to, scratch);
    }
  }

  void project_packed(int64_t u, int64_t count, const T** rows, T** to, T* scratch) const {
    int64_t width = s.all_groups * W, first = u * s.all_groups;
    for (int64_t i = 0; i < count; i++) memcpy(scratch + i * width, bias + first * W, width * sizeof(T));
    product<T>(s.inputs, count, rows, of_x + first * W * s.inputs, s.all_groups, scratch, width);
    for (int64_t i = 0; i < count; i++)
      for (int64_t g = 0; g < s.all_groups; g++) put(scratch + i * width + g * W, to[i], first + g);
  }

  void project_turned(int64_t u, int64_t count, const T** rows, T** to, T* scratch) const {
    int64_t width = s.all_groups * W, outputs = s.hidden - u * W;
    T* block = scratch + kRowChunk * width;
    for (int64_t i = 0; i < count; i++) memcpy(scratch + i * width, bias + u * width, width * sizeof(T));
    turned_product<T>(s.inputs, count, rows, weight_x(u, 0), outputs, s.groups, s.hidden, scratch, width, block);
    if (s.highway) turned_product<T>(s.inputs, count, rows, weight_x(u, s.groups), outputs, 1, 0, scratch + s.groups * W, width, block);
    for (int64_t i = 0; i < count; i++)
      for (int64_t g = 0; g < s.all_groups; g++) put(scratch + i * width + g * W, to[i], u * s.all_groups + g);
  }

  void put(const T* from, T* z_row, int64_t panel) const {
    int64_t u = panel / s.all_groups, g = panel % s.all_groups, left = s.hidden - u * W;
    T* to = z_row + g * s.hidden + u * W;
    store<T>(to, load<T>(from), left);
    store<T>(to + L, load<T>(from + L), left - L);
  }

  // The h that a row's step t reads.
  const T* h_of(int64_t t, int64_t b) const {
    if (s.array(kMask)) return h_read + b * s.state;
    return s.h_before(t, b);
  }

  void step(int64_t t, int64_t in_chunk) {
    int64_t count = order.active[t];
    each(team, s.units, [&](int64_t u, int member) { unit_block(t, in_chunk, count, u, member); });
    if (s.projected)
      each(team, parts(s.state, W), [&](int64_t p, int member) { project_h(t, count, p, member); });
    else if (s.array(kMask) && count)
      masked_h(t, count);
    for (int64_t n = count; n < s.rows; n++) {
      int64_t at = s.at(t, order.row[n]);
      memset(s.array(kY) + at * s.state, 0, s.state * sizeof(T));
      if (s.array(kCells)) memset(s.array(kCells) + at * s.hidden, 0, s.hidden * sizeof(T));
    }
  }

  void masked_h(int64_t t, int64_t count) {
    for (int64_t n = 0; n < count; n++) {
      int64_t b = order.row[n];
      const T *h = s.array(kY) + s.at(t, b) * s.state, *mask = s.array(kMask) + b * s.state;
      for (int64_t k = 0; k < s.state; k++) h_read[b * s.state + k] = h[k] * mask[k];
    }
  }

  void unit_block(int64_t t, int64_t in_chunk, int64_t count, int64_t u, int member) {
    T* scratch = tile + member * tile_size;
    const T** rows = pointers + member * 2 * kRowChunk;
    for (int64_t start = 0; start < count; start += kRowChunk) {
      int64_t some = at_most(kRowChunk, count - start);
      for (int64_t i = 0; i < some; i++) {
        int64_t b = order.row[start + i];
        rows[i] = h_of(t, b);
        const T* from = z(t, b, in_chunk) + u * W;
        for (int64_t g = 0; g < s.all_groups; g++, from += s.hidden) {
          T* to = scratch + (i * s.all_groups + g) * W;
          store<T>(to, load<T>(from, s.hidden - u * W));
          store<T>(to + L, load<T>(from + L, s.hidden - u * W - L));
        }
      }
      if (direct_h)
        turned_product<T>(s.state, some, rows, s.array(kWeightHh) + u * W * s.state, s.hidden - u * W, s.groups, s.hidden, scratch, s.all_groups * W, scratch + kRowChunk * s.all_groups * W);
      else product<T>(s.state, some, rows, of_h + u * s.groups * W * s.state, s.groups, scratch, s.all_groups * W);
      for (int64_t i = 0; i < some; i++)
        for (int64_t v = 0; v < 2; v++)
          if (u * W + v * L < s.hidden) gates(t, order.row[start + i], in_chunk, scratch + i * s.all_groups * W + v * L, u * W + v * L);
    }
  }

  INLINE Vec<T> clipped(const Shape<T>& s, Vec<T> z) { return s.gate_clip != 0 ? limited<T>(z, -s.gate_clip, s.gate_clip) : z; }

  // σ of a gate from its z in the tile; keeps what the way back needs.
  Vec<T> gate(int k, const T* z_tile, Vec<T> seen, int64_t unit, T* kept) const {
    Vec<T> z = load<T>(z_tile + s.place[k] * W);
    int peep = k < 2 ? s.peep[k] : (k == 3 ? s.peep[2] : -1);
    if (peep >= 0) z = fma(load<T>(s.array(kWeightCh) + peep * s.hidden + unit, s.hidden - unit), seen, z);
    Vec<T> a = value<T>(k == 2 ? s.cell : s.gate, clipped(s, z));
    if (kept) store<T>(kept + s.place[k] * s.hidden + unit, s.keeps_value[k] ? a : z, s.hidden - unit);
    return a;
  }

  void gates(int64_t t, int64_t b, int64_t in_chunk, const T* z_tile, int64_t unit) {
    int64_t left = s.hidden - unit, at = s.at(t, b);
    T* kept = s.array(kGates) ? z(t, b, in_chunk) : nullptr;
    T* cells = s.array(kCells);
    const T* from = !cells ? c_now + b * s.hidden : s.first(t, b) ? s.array(kC0) + b * s.hidden : cells + s.at(s.before(t), b) * s.hidden;
    Vec<T> old = load<T>(from + unit, left), one = splat((T)1), i = one;
    Vec<T> g = gate(2, z_tile, old, unit, kept), c = g;
    if (s.place[0] >= 0) i = gate(0, z_tile, old, unit, kept), c = i * g;
    if (s.job.number[kHas] & kCoupled) c = fma(one - i, old, c);
    else if (s.place[1] >= 0) c = fma(gate(1, z_tile, old, unit, kept), old, c);
    else c = old + c;
    if (s.cell_clip != 0) c = limited<T>(c, -s.cell_clip, s.cell_clip);
    Vec<T> out = value<T>(s.output, c);
    if (s.place[3] >= 0) out = gate(3, z_tile, c, unit, kept) * out;
    if (s.highway) {
      Vec<T> r = gate(4, z_tile, c, unit, kept), carry = load<T>(z_tile + s.groups * W);
      out = fma(r, out, (one - r) * carry);
    }
    store<T>((cells ? cells + at * s.hidden : c_now + b * s.hidden) + unit, c, left);
    store<T>((s.projected ? m + b * s.hidden : s.array(kY) + at * s.hidden) + unit, out, left);
  }

  void project_h(int64_t t, int64_t count, int64_t p, int member) {
    T* scratch = tile + member * tile_size;
    const T** rows = pointers + member * 2 * kRowChunk;
    for (int64_t start = 0; start < count; start += kRowChunk) {
      int64_t some = at_most(kRowChunk, count - start);
      for (int64_t i = 0; i < some; i++) rows[i] = m + order.row[start + i] * s.hidden;
      memset(scratch, 0, some * W * sizeof(T));
      if (direct_h) turned_product<T>(s.hidden, some, rows, s.array(kWeightHr) + p * W * s.hidden, s.state - p * W, 1, 0, scratch, W, scratch + kRowChunk * W);
      else product<T>(s.hidden, some, rows, of_r + p * s.hidden * W, 1, scratch, W);
      for (int64_t i = 0; i < some; i++)
        for (int64_t v = 0; v < W; v += L) put_h(t, order.row[start + i], load<T>(scratch + i * W + v), p * W + v);
    }
  }

  void put_h(int64_t t, int64_t b, Vec<T> h, int64_t feature) const {
    int64_t left = s.state - feature, at = s.at(t, b) * s.state + feature;
    if (s.array(kRaw)) store<T>(s.array(kRaw) + at, h, left);
    if (s.proj_clip != 0) h = limited<T>(h, -s.proj_clip, s.proj_clip);
    store<T>(s.array(kY) + at, h, left);
    if (s.array(kMask)) store<T>(h_read + b * s.state + feature, h * load<T>(s.array(kMask) + b * s.state + feature, left), left);
  }
};

}  // namespace
