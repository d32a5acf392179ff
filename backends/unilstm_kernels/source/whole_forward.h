// One direction of one layer, forward, for cells whose rows are treated as a whole.
#pragma once
#include "whole_row.h"

namespace {

constexpr int64_t kBunch = 4;             // panels of one item of work: few rows would wait for the multiply-add before
constexpr int64_t kProjectedRows = 512;   // rows of x projected at once: their z stays in the second-level cache

// Weights whose rows are outputs, in panels; a panel lies within a section, each of which reads an input of its own.
template <class T> struct Panels {
  T* packed;
  int64_t *row, *rows, *section, count, depth;
  // At most so many panels for so many output rows in sections.
  static int64_t most(int64_t rows, int64_t sections) { return parts(rows, kWide<T>) + sections; }
  template <class S> void place(int64_t sections, const S& of_section) {
    count = 0;
    for (int64_t n = 0; n < sections; n++)
      for (int64_t k = 0; k < of_section(n).size; k += kWide<T>, count++)
        row[count] = of_section(n).at + k, rows[count] = at_most(kWide<T>, of_section(n).size - k), section[count] = n;
  }
  template <class R> void pack(int64_t p, const R& of_row) const {
    constexpr int W = kWide<T>;
    T* panel = packed + p * W * depth;
    if (rows[p] < W) memset(panel, 0, W * depth * sizeof(T));
    for (int64_t start = 0; start < depth; start += 16)
      for (int64_t n = 0; n < rows[p]; n++) {
        const T* from = of_row(row[p] + n);
        for (int64_t k = start; k < at_most(depth, start + 16); k++) panel[k * W + n] = from[k];
      }
  }
};

template <class T> struct WholeForward {
  static constexpr int W = kWide<T>, L = kLanes<T>;
  const Whole<T> w;
  const Shape<T>& s;
  Team* team;
  Memory memory;
  Order order{};
  Panels<T> of_x{}, of_h{}, of_gates{}, of_r{};
  T *bias, *z_chunk, *z_h, *z_gates, *c_now, *h_read, *m, *tile, *scratch;
  const T** pointers;
  int64_t chunk, tile_size, scratch_size;

  WholeForward(const Job& job, Team* team) : w(job), s(w.s), team(team) {}

  bool run() {
    if (!prepare()) return false;
    pack();
    for (int64_t start = 0; start < s.steps; start += chunk) {
      int64_t end = at_most(s.steps, start + chunk);
      each(team, parts((end - start) * s.rows, kRowChunk), [&](int64_t item, int member) { project_x(start, end, item, member); });
      for (int64_t n = start; n < end; n++) step(s.time(n), n - start);
    }
    finish();
    return true;
  }

  bool prepare() {
    int64_t members = team_size(team), again = w.seen_again * s.hidden;
    chunk = at_most(s.steps, parts(kProjectedRows, s.rows));
    tile_size = kRowChunk * kBunch * W;
    scratch_size = (w.lanes * (Whole<T>::kLaneArrays + 1) + 2) * w.padded();
    struct { Panels<T>* panels; int64_t rows, sections, depth; } all[] = {
      {&of_x, w.all_width, 1, s.inputs}, {&of_h, w.width, w.sections(), s.state}, {&of_gates, again, 1, again},
      {&of_r, s.projected ? s.state : 0, 1, s.hidden}};
    int64_t packed[4], places[4];
    for (int k = 0; k < 4; k++) {
      int64_t most = Panels<T>::most(all[k].rows, all[k].sections);
      packed[k] = memory.ask<T>(most * W * all[k].depth), places[k] = memory.ask<int64_t>(3 * most);
    }
    int64_t o[] = {
      memory.ask<T>(w.all_width), memory.ask<T>(chunk * s.rows * w.all_width), memory.ask<T>(w.joint ? s.rows * w.width : 0),
      memory.ask<T>(s.rows * again), memory.ask<T>(s.array(kCells) ? 0 : s.rows * w.slots_width),
      memory.ask<T>(w.mask(0, 0) ? w.sections() * s.rows * s.state : 0), memory.ask<T>(s.projected ? s.rows * s.hidden : 0),
      memory.ask<T>(members * tile_size), memory.ask<T>(members * scratch_size),
      memory.ask<T*>(members * 2 * kRowChunk), memory.ask<int64_t>(s.rows), memory.ask<int64_t>(s.steps)};
    if (!memory.get()) return false;
    T** to[] = {&bias, &z_chunk, &z_h, &z_gates, &c_now, &h_read, &m, &tile, &scratch};
    for (int k = 0; k < 9; k++) *to[k] = memory.at<T>(o[k]);
    pointers = memory.at<const T*>(o[9]);
    order = {memory.at<int64_t>(o[10]), memory.at<int64_t>(o[11])};
    order.fill(s);
    for (int k = 0; k < 4; k++) {
      int64_t most = Panels<T>::most(all[k].rows, all[k].sections), *places_k = memory.at<int64_t>(places[k]);
      *all[k].panels = {memory.at<T>(packed[k]), places_k, places_k + most, places_k + 2 * most, 0, all[k].depth};
    }
    return true;
  }

  void pack() {
    typedef typename Whole<T>::Group Group;
    int64_t again = w.seen_again * s.hidden;
    of_x.place(1, [&](int64_t) { return Group{0, w.all_width}; });
    of_h.place(w.sections(), [&](int64_t n) { return w.section(n); });
    of_gates.place(1, [&](int64_t) { return Group{0, again}; });
    of_r.place(1, [&](int64_t) { return Group{0, s.projected ? s.state : 0}; });
    each(team, of_x.count, [&](int64_t p, int) { of_x.pack(p, [&](int64_t k) { return w.of_x(k); }); });
    each(team, of_h.count, [&](int64_t p, int) { of_h.pack(p, [&](int64_t k) { return s.array(kWeightHh) + k * s.state; }); });
    each(team, of_gates.count, [&](int64_t p, int) { of_gates.pack(p, [&](int64_t k) { return s.array(kWeightGg) + k * again; }); });
    each(team, of_r.count, [&](int64_t p, int) { of_r.pack(p, [&](int64_t k) { return s.array(kWeightHr) + k * s.hidden; }); });
    for (int64_t k = 0; k < w.all_width; k++) bias[k] = w.bias(k);
    if (!s.array(kCells)) memcpy(c_now, s.array(kC0), s.rows * w.slots_width * sizeof(T));
    if (!w.mask(0, 0)) return;
    for (int64_t b = 0; b < s.rows; b++) for_reading(b, s.array(kH0) + b * s.state, 0, s.state);
  }

  // to = start + a · a bunch of panels, for at most kRowChunk rows. start: what is there, `from` for all rows, or 0.
  enum Start { kThere, kFrom, kZero };
  void multiply(const Panels<T>& of, int64_t item, int64_t rows, const T* const* a, T* const* to, Start start, const T* from, int member) const {
    T* tiles = tile + member * tile_size;
    int64_t first = item * kBunch, count = at_most(kBunch, of.count - first);
    for (int64_t i = 0; i < rows; i++)
      for (int64_t q = 0; q < count; q++)
        for (int v = 0; v < W; v += L) {
          int64_t k = of.row[first + q] + v, left = of.rows[first + q] - v;
          Vec<T> one = start == kZero ? Vec<T>{} : load<T>((start == kFrom ? from : to[i]) + k, left);
          store<T>(tiles + (i * count + q) * W + v, one);
        }
    product<T>(of.depth, rows, a, of.packed + first * W * of.depth, count, tiles, count * W);
    for (int64_t i = 0; i < rows; i++)
      for (int64_t q = 0; q < count; q++)
        for (int v = 0; v < W; v += L)
          store<T>(to[i] + of.row[first + q] + v, load<T>(tiles + (i * count + q) * W + v), of.rows[first + q] - v);
  }

  T* z(int64_t in_chunk, int64_t b) const { return z_chunk + (in_chunk * s.rows + b) * w.all_width; }
  T* kept(int64_t t, int64_t b) const { return s.array(kGates) ? s.array(kGates) + s.at(t, b) * w.kept_width : nullptr; }

  void project_x(int64_t start, int64_t end, int64_t item, int member) {
    const T** rows = pointers + member * 2 * kRowChunk;
    T** to = (T**)(rows + kRowChunk);
    int64_t count = 0, from = item * kRowChunk, last = at_most((end - start) * s.rows, from + kRowChunk);
    for (int64_t k = from; k < last; k++) {
      int64_t n = k / s.rows, b = k % s.rows, t = s.time(start + n);
      if (t < s.length(b)) to[count] = z(n, b), rows[count++] = s.x(t, b);
    }
    // What lies behind z is never normalised: its sum starts from its bias.
    if (w.norm)
      for (int64_t i = 0; i < count; i++) {
        memset(to[i], 0, w.width * sizeof(T));
        memcpy(to[i] + w.width, bias + w.width, (w.all_width - w.width) * sizeof(T));
      }
    for (int64_t n = 0; n < parts(of_x.count, kBunch); n++) multiply(of_x, n, count, rows, to, w.norm ? kThere : kFrom, bias, member);
    if (!w.joint) return;
    for (int64_t k = from; k < last; k++) {
      int64_t n = k / s.rows, b = k % s.rows, t = s.time(start + n);
      if (t < s.length(b)) norm_x(z(n, b), kept(t, b));
    }
  }

  void norm_x(T* row, T* keep) const {
    T *to = keep ? keep + w.norm_at : row, scale = normalize<T>(row, w.width, w.eps, to);
    if (keep) keep[w.scales_at] = scale;
    vectors<T>(w.width, [&](int64_t k, int64_t left) {
      store<T>(row + k, fma(load<T>(s.array(kGammaIh) + k, left), load<T>(to + k, left), load<T>(bias + k, left)), left);
    });
  }

  // What a row's step t reads: h by section, and c with what lies behind it.
  const T* h_of(int64_t t, int64_t b) const {
    return s.first(t, b) ? s.array(kH0) + b * s.state : s.array(kY) + s.at(s.before(t), b) * s.state;
  }
  const T* c_of(int64_t t, int64_t b) const {
    if (!s.array(kCells)) return c_now + b * w.slots_width;
    return s.first(t, b) ? s.array(kC0) + b * w.slots_width : s.array(kCells) + s.at(s.before(t), b) * w.slots_width;
  }
  void for_reading(int64_t b, const T* h, int64_t k, int64_t count) const {
    for (int64_t n = 0; n < w.sections(); n++) {
      const T* mask = w.mask(n, b);
      T* to = h_read + (n * s.rows + b) * s.state;
      vectors<T>(count, [&](int64_t j, int64_t left) { store<T>(to + k + j, load<T>(h + j, left) * load<T>(mask + k + j, left), left); });
    }
  }

  void step(int64_t t, int64_t in_chunk) {
    int64_t count = order.active[t], of_z = w.sections() > 1 ? of_h.count : parts(of_h.count, kBunch);
    each(team, of_z + parts(of_gates.count, kBunch), [&](int64_t item, int member) {
      if (item < of_z) recur(t, in_chunk, count, item, member);
      else see_again(t, count, item - of_z, member);
    });
    each(team, count, [&](int64_t n, int member) { row(t, order.row[n], in_chunk, member); });
    if (s.projected) each(team, parts(of_r.count, kBunch), [&](int64_t item, int member) { project_h(t, count, item, member); });
    for (int64_t n = count; n < s.rows; n++) {
      int64_t at = s.at(t, order.row[n]);
      memset(s.array(kY) + at * s.state, 0, s.state * sizeof(T));
      if (s.array(kCells)) memset(s.array(kCells) + at * w.slots_width, 0, w.slots_width * sizeof(T));
    }
  }

  // R h: into z, or beside it where it is normalised alone.
  void recur(int64_t t, int64_t in_chunk, int64_t count, int64_t item, int member) {
    const T** rows = pointers + member * 2 * kRowChunk;
    T** to = (T**)(rows + kRowChunk);
    bool apart = w.sections() > 1, masked = w.mask(0, 0);
    Panels<T> of = of_h;
    if (apart) of = {of_h.packed + item * W * s.state, of_h.row + item, of_h.rows + item, nullptr, 1, s.state};
    int64_t section = apart ? of_h.section[item] : 0;
    for (int64_t start = 0; start < count; start += kRowChunk) {
      int64_t some = at_most(kRowChunk, count - start);
      for (int64_t i = 0; i < some; i++) {
        int64_t b = order.row[start + i];
        rows[i] = masked ? h_read + (section * s.rows + b) * s.state : h_of(t, b);
        to[i] = w.joint ? z_h + b * w.width : z(in_chunk, b);
      }
      multiply(of, apart ? 0 : item, some, rows, to, w.joint ? kZero : kThere, nullptr, member);
    }
  }

  void see_again(int64_t t, int64_t count, int64_t item, int member) {
    const T** rows = pointers + member * 2 * kRowChunk;
    T** to = (T**)(rows + kRowChunk);
    for (int64_t start = 0; start < count; start += kRowChunk) {
      int64_t some = at_most(kRowChunk, count - start);
      for (int64_t i = 0; i < some; i++) {
        int64_t b = order.row[start + i];
        rows[i] = c_of(t, b) + s.hidden, to[i] = z_gates + b * w.seen_again * s.hidden;
      }
      multiply(of_gates, item, some, rows, to, kZero, nullptr, member);
    }
  }

  void project_h(int64_t t, int64_t count, int64_t item, int member) {
    const T** rows = pointers + member * 2 * kRowChunk;
    T** to = (T**)(rows + kRowChunk);
    int64_t first = of_r.row[item * kBunch], end = at_most(s.state, first + kBunch * W);
    for (int64_t start = 0; start < count; start += kRowChunk) {
      int64_t some = at_most(kRowChunk, count - start);
      for (int64_t i = 0; i < some; i++) {
        int64_t b = order.row[start + i];
        rows[i] = m + b * s.hidden, to[i] = s.array(kY) + s.at(t, b) * s.state;
      }
      multiply(of_r, item, some, rows, to, kZero, nullptr, member);
      for (int64_t i = 0; i < some; i++) settle(t, order.row[start + i], to[i], first, end);
    }
  }

  void row(int64_t t, int64_t b, int64_t in_chunk, int member) const {
    T *mine = scratch + member * scratch_size, *made = s.projected ? m + b * s.hidden : mine;
    T* c = s.array(kCells) ? s.array(kCells) + s.at(t, b) * w.slots_width : c_now + b * w.slots_width;
    const T* of_gates = w.seen_again ? z_gates + b * w.seen_again * s.hidden : nullptr;
    ForwardRow<T>{w, t, b, z(in_chunk, b), w.joint ? z_h + b * w.width : nullptr, of_gates, bias, kept(t, b), c_of(t, b), c, made,
                  mine + w.padded()}.run();
    if (!s.projected) settle(t, b, made, 0, s.hidden);
  }

  // Features first to end of h as the projection made them, or m, to those of y.
  void settle(int64_t t, int64_t b, const T* made, int64_t first, int64_t end) const {
    T* y = s.array(kY) + s.at(t, b) * s.state;
    const T* old = h_of(t, b);
    vectors<T>(end - first, [&](int64_t j, int64_t left) {
      int64_t k = first + j;
      Vec<T> h = load<T>(made + k, left);
      if (s.array(kRaw)) store<T>(s.array(kRaw) + s.at(t, b) * s.state + k, h, left);
      if (s.proj_clip != 0) h = limited<T>(h, -s.proj_clip, s.proj_clip);
      if (w.zoned_h()) {
        Vec<T> before = load<T>(old + k, left);
        h = fma(w.let_h(t, b, k, left), h - before, before);
      }
      store<T>(y + k, h, left);
    });
    if (w.mask(0, 0)) for_reading(b, y + first, first, end - first);
  }

  void finish() const {
    for (int64_t b = 0; b < s.rows; b++) {
      int64_t at = s.at(s.last(b), b);
      bool empty = s.length(b) == 0;
      const T* c = !s.array(kCells) ? c_now + b * w.slots_width : s.array(kCells) + at * w.slots_width;
      memcpy(s.array(kHn) + b * s.state, empty ? s.array(kH0) + b * s.state : s.array(kY) + at * s.state, s.state * sizeof(T));
      memcpy(s.array(kCn) + b * w.slots_width, empty ? s.array(kC0) + b * w.slots_width : c, w.slots_width * sizeof(T));
    }
  }
};

}  // namespace
