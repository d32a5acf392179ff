// One direction of one layer, forward, for cells whose rows are treated as a whole.
#pragma once
#include "minimal.h"
#include "stabilized.h"
#include "whole_row.h"

namespace {

constexpr int64_t kBunch = 4;  // panels of one item of work: few rows would wait for the multiply-add before

// Weights whose rows are outputs, in panels. A panel lies within a section, each of which reads an input of its own.
template <class T> struct Panels {
  T* packed;  // null: the weights are used so seldom that they are not packed
  const T** weight;  // of each panel, its first row
  int64_t *row, *rows, *section, count, depth;
  // At most so many panels for so many output rows in sections.
  static int64_t most(int64_t rows, int64_t sections) { return parts(rows, kWide<T>) + sections; }
  // of_section(n): where it starts, and its size. weights(k): row k.
  template <class S, class R> void place(int64_t sections, const S& of_section, const R& weights) {
    count = 0;
    for (int64_t n = 0; n < sections; n++)
      for (int64_t k = 0; k < of_section(n).size; k += kWide<T>, count++) {
        row[count] = of_section(n).at + k, rows[count] = at_most(kWide<T>, of_section(n).size - k), section[count] = n;
        weight[count] = weights(row[count]);
      }
  }
  void pack(int64_t p) const { pack_turned<T>(weight[p], depth, depth, rows[p], packed + p * kWide<T> * depth); }
  // c [a_rows, some panels from the first on] += a · panels.
  void multiply(int64_t a_rows, const T* const* a, int64_t first, int64_t some, T* c, T* block) const {
    constexpr int W = kWide<T>;
    if (packed) return product<T>(depth, a_rows, a, packed + first * W * depth, some, {c, some * W});
    for (int64_t q = 0; q < some && a_rows; q++)
      turned_product<T>(depth, a_rows, a, weight[first + q], rows[first + q], 1, 0, {c + q * W, some * W}, block);
  }
};

template <class T> struct WholeForward {
  static constexpr int W = kWide<T>, L = kLanes<T>;
  const Whole<T> w;
  const Shape<T>& s;
  Team* team;
  Memory memory;
  Lasting lasting;
  Order order{};
  Panels<T> of_x{}, of_h{}, of_gates{}, of_r{};
  T *bias, *start_x, *z_chunk, *z_h, *z_gates, *c_now, *h_read, *m, *tile, *scratch;
  const T** pointers;
  int64_t chunk, tile_size, scratch_size;
  Packed* const packed;  // null: weights are packed for this call alone
  const bool direct_x, direct_h;  // are the weights used so seldom that they are not packed?

  WholeForward(const Job& job, Team* team)
    : w(job), s(w.s), team(team), packed((Packed*)job.array[kPacked]), direct_x(!packed && s.steps * s.rows <= kRowChunk), direct_h(!packed && s.steps <= 2) {}

  bool run() {
    if (!prepare()) return false;
    pack();
    forwards(team, s, order, chunk, [&](int64_t start, int64_t end, const Span& all, const Crew& crew) {
      int64_t chunks = parts((end - start) * all.count(), kRowChunk), bunches = parts(of_x.count, kBunch);
      crew.each(chunks * bunches, [&](int64_t item, int member) { project_x(start, end, all, item / bunches, item % bunches, member); });
      if (w.joint) crew.each(chunks, [&](int64_t item, int) { norm_x(start, end, all, item); });
      for (int64_t n = start; n < end; n++) step(s.time(n), n - start, all, crew);
    });
    s.finish(c_now, w.slots_width);
    return true;
  }

  bool prepare() {
    int64_t members = team_size(team), again = w.seen_again * s.hidden;
    chunk = at_most(s.steps, parts(kStepsRows, s.rows));
    tile_size = kRowChunk * kBunch * W + kTurnedSize<T>;
    scratch_size = (w.lanes * (Whole<T>::kLaneArrays + 1) + 2) * w.padded();
    struct { Panels<T>* panels; int64_t rows, sections, depth; bool direct; } all[] = {
      {&of_x, w.all_width, 3, s.inputs, direct_x}, {&of_h, w.sections() ? w.width : 0, w.sections(), w.depth, direct_h},
      {&of_gates, again, 1, again, direct_h}, {&of_r, s.projected ? s.state : 0, 1, s.hidden, direct_h}};
    Parts& packs = packed ? (Parts&)lasting : memory;
    int64_t panels[4], places[4], weights[4];
    for (int k = 0; k < 4; k++) {
      int64_t most = Panels<T>::most(all[k].rows, all[k].sections);
      panels[k] = packs.ask<T>(all[k].direct ? 0 : most * W * all[k].depth);
      places[k] = memory.ask<int64_t>(3 * most), weights[k] = memory.ask<T*>(most);
    }
    int64_t o[] = {
      memory.ask<T>(w.all_width), memory.ask<T>(w.all_width), memory.ask<T>(chunk * s.rows * apart<T>(w.all_width)), memory.ask<T>(w.joint ? s.rows * apart<T>(w.width) : 0),
      memory.ask<T>(s.rows * again), memory.ask<T>(s.array(kCells) ? 0 : s.rows * w.slots_width),
      memory.ask<T>(w.mask(0, 0) ? w.masks() * s.rows * s.state : 0), memory.ask<T>(s.projected ? s.rows * s.hidden : 0),
      memory.ask<T>(members * tile_size), memory.ask<T>(members * scratch_size),
      memory.ask<T*>(members * 2 * kRowChunk), memory.ask<int64_t>(s.rows), memory.ask<int64_t>(s.steps + 1)};
    if (!memory.get() || (packed && !lasting.get(packed, sizeof(T)))) return false;
    T** to[] = {&bias, &start_x, &z_chunk, &z_h, &z_gates, &c_now, &h_read, &m, &tile, &scratch};
    for (int k = 0; k < 10; k++) *to[k] = memory.at<T>(o[k]);
    pointers = memory.at<const T*>(o[10]);
    order = {memory.at<int64_t>(o[11]), memory.at<int64_t>(o[12])};
    order.fill(s);
    for (int k = 0; k < 4; k++) {
      int64_t most = Panels<T>::most(all[k].rows, all[k].sections), *places_k = memory.at<int64_t>(places[k]);
      T* at = all[k].direct ? nullptr : packs.at<T>(panels[k]);
      *all[k].panels = {at, memory.at<const T*>(weights[k]), places_k, places_k + most, places_k + 2 * most, 0, all[k].depth};
    }
    return true;
  }

  void pack() {
    typedef typename Whole<T>::Group Group;
    int64_t again = w.seen_again * s.hidden;
    const int64_t x_at[] = {0, w.carry_at, w.attend_at, w.all_width};
    of_x.place(3, [&](int64_t n) { return Group{x_at[n], x_at[n + 1] - x_at[n]}; }, [&](int64_t k) { return w.of_x(k); });
    of_h.place(w.sections(), [&](int64_t n) { return w.section(n); }, [&](int64_t k) { return s.array(kWeightHh) + k * w.depth; });
    of_gates.place(1, [&](int64_t) { return Group{0, again}; }, [&](int64_t k) { return s.array(kWeightGg) + k * again; });
    int64_t state = s.projected ? s.state : 0;
    of_r.place(1, [&](int64_t) { return Group{0, state}; }, [&](int64_t k) { return s.array(kWeightHr) + k * s.hidden; });
    const Panels<T>* const all[] = {&of_x, &of_h, &of_gates, &of_r};
    for (const Panels<T>* panels : all)
      if (panels->packed && !lasting.there) each(team, panels->count, [&](int64_t p, int) { panels->pack(p); });
    for (int64_t k = 0; k < w.all_width; k++) bias[k] = w.bias(k), start_x[k] = w.norm && k < w.width ? 0 : bias[k];
    if (!s.array(kCells)) memcpy(c_now, s.array(kC0), s.rows * w.slots_width * sizeof(T));
    if (!w.mask(0, 0)) return;
    for (int64_t b = 0; b < s.rows; b++) for_reading(b, s.array(kH0) + b * s.state, 0, s.state);
  }

  // to = start + a · a bunch of panels, for at most kRowChunk rows. start: what is there, `from` for all rows, or 0.
  enum Start { kThere, kFrom, kZero };
  void multiply(const Panels<T>& of, int64_t item, int64_t rows, const T* const* a, T* const* to, Start start, const T* from, int member) const {
    T* tiles = tile + member * tile_size;
    int64_t first = item * kBunch, count = at_most(kBunch, of.count - first), at = of.row[first];
    if (in_place(of, first, count, rows, to)) {
      for (int64_t i = 0; i < rows && start != kThere; i++)
        if (start == kFrom) memcpy(to[i] + at, from + at, count * W * sizeof(T));
        else memset(to[i] + at, 0, count * W * sizeof(T));
      return product<T>(of.depth, rows, a, of.packed + first * W * of.depth, count, {to[0] + at, rows > 1 ? to[1] - to[0] : 0});
    }
    for (int64_t i = 0; i < rows; i++)
      for (int64_t q = 0; q < count; q++)
        for (int v = 0; v < W; v += L) {
          int64_t k = of.row[first + q] + v, left = of.rows[first + q] - v;
          Vec<T> one = start == kZero ? Vec<T>{} : load<T>((start == kFrom ? from : to[i]) + k, left);
          store<T>(tiles + (i * count + q) * W + v, one);
        }
    of.multiply(rows, a, first, count, tiles, tiles + kRowChunk * kBunch * W);
    for (int64_t i = 0; i < rows; i++)
      for (int64_t q = 0; q < count; q++)
        for (int v = 0; v < W; v += L)
          store<T>(to[i] + of.row[first + q] + v, load<T>(tiles + (i * count + q) * W + v), of.rows[first + q] - v);
  }

  // Do rows and panels lie evenly, so that a product can add to them where they are? A panel of fewer rows would add to
  // what is another's.
  bool in_place(const Panels<T>& of, int64_t first, int64_t count, int64_t rows, T* const* to) const {
    if (!of.packed || !rows) return false;
    for (int64_t q = first; q < first + count; q++)
      if (of.rows[q] < W || of.row[q] != of.row[first] + (q - first) * W) return false;
    for (int64_t i = 2; i < rows; i++)
      if (to[i] - to[i - 1] != to[1] - to[0]) return false;
    return true;
  }

  T* z(int64_t in_chunk, int64_t b) const { return z_chunk + (in_chunk * s.rows + b) * apart<T>(w.all_width); }
  T* z_h_row(int64_t b) const { return z_h + b * apart<T>(w.width); }
  T* kept(int64_t t, int64_t b) const { return s.array(kGates) ? s.array(kGates) + s.at(t, b) * w.kept_width : nullptr; }

  // A bunch of panels, of a chunk of rows.
  void project_x(int64_t start, int64_t end, const Span& all, int64_t item, int64_t bunch, int member) {
    const T** rows = pointers + member * 2 * kRowChunk;
    T** to = (T**)(rows + kRowChunk);
    int64_t count = 0;
    order.each_step(s, start, end, all, item, [&](int64_t n, int64_t t, int64_t place) {
      int64_t b = order.row[place];
      to[count] = z(n, b), rows[count++] = s.x(t, b);
    });
    multiply(of_x, bunch, count, rows, to, kFrom, start_x, member);
  }

  void norm_x(int64_t start, int64_t end, const Span& all, int64_t item) const {
    order.each_step(s, start, end, all, item, [&](int64_t n, int64_t t, int64_t place) {
      int64_t b = order.row[place];
      T *row = z(n, b), *keep = kept(t, b), *to = keep ? keep + w.norm_at : row, scale = normalize<T>(row, w.width, w.eps, to);
      if (keep) keep[w.scales_at] = scale;
      vectors<T>(w.width, [&](int64_t j, int64_t left) {
        store<T>(row + j, fma(load<T>(s.array(kGammaIh) + j, left), load<T>(to + j, left), load<T>(bias + j, left)), left);
      });
    });
  }

  // What a row's step t reads of c, with what lies behind it.
  const T* c_of(int64_t t, int64_t b) const {
    if (!s.array(kCells)) return c_now + b * w.slots_width;
    return s.first(t, b) ? s.array(kC0) + b * w.slots_width : s.array(kCells) + s.at(s.before(t), b) * w.slots_width;
  }
  void for_reading(int64_t b, const T* h, int64_t k, int64_t count) const {
    for (int64_t n = 0; n < w.masks(); n++) {
      const T* mask = w.mask(n, b);
      T* to = h_read + (n * s.rows + b) * s.state;
      vectors<T>(count, [&](int64_t j, int64_t left) { store<T>(to + k + j, load<T>(h + j, left) * load<T>(mask + k + j, left), left); });
    }
  }

  void step(int64_t t, int64_t in_chunk, const Span& all, const Crew& crew) {
    const Span active = order.active_of(all, t);
    int64_t of_z = w.sections() > 1 ? of_h.count : parts(of_h.count, kBunch);
    crew.each(of_z + parts(of_gates.count, kBunch), [&](int64_t item, int member) {
      if (item < of_z) recur(t, in_chunk, active, item, member);
      else see_again(t, active, item - of_z, member);
    }, t % 2);
    crew.each(active.count(), [&](int64_t n, int member) { row(t, order.row[active.from + n], in_chunk, member); });
    if (s.projected) crew.each(parts(of_r.count, kBunch), [&](int64_t item, int member) { project_h(t, active, item, member); });
    for (int64_t n = active.to; n < all.to; n++) {
      int64_t at = s.at(t, order.row[n]);
      memset(s.y(t, order.row[n]), 0, s.state * sizeof(T));
      if (s.array(kCells)) memset(s.array(kCells) + at * w.slots_width, 0, w.slots_width * sizeof(T));
    }
  }

  // R h: into z, or beside it where it is normalised alone.
  void recur(int64_t t, int64_t in_chunk, const Span& active, int64_t item, int member) {
    const T** rows = pointers + member * 2 * kRowChunk;
    T** to = (T**)(rows + kRowChunk);
    bool apart = w.sections() > 1, masked = w.mask(0, 0);
    Panels<T> of = of_h;
    T* packed = of_h.packed && apart ? of_h.packed + item * W * w.depth : nullptr;
    if (apart) of = {packed, of_h.weight + item, of_h.row + item, of_h.rows + item, nullptr, 1, w.depth};
    int64_t section = apart ? of_h.section[item] : 0, from = w.section(section).from, mask = w.mask_of(section);
    for (int64_t start = active.from; start < active.to; start += kRowChunk) {
      int64_t some = at_most(kRowChunk, active.to - start);
      for (int64_t i = 0; i < some; i++) {
        int64_t b = order.row[start + i];
        rows[i] = (masked ? h_read + (mask * s.rows + b) * s.state : s.h_before(t, b)) + from;
        to[i] = w.joint ? z_h_row(b) : z(in_chunk, b);
      }
      multiply(of, apart ? 0 : item, some, rows, to, w.joint ? kZero : kThere, nullptr, member);
    }
  }

  void see_again(int64_t t, const Span& active, int64_t item, int member) {
    const T** rows = pointers + member * 2 * kRowChunk;
    T** to = (T**)(rows + kRowChunk);
    for (int64_t start = active.from; start < active.to; start += kRowChunk) {
      int64_t some = at_most(kRowChunk, active.to - start);
      for (int64_t i = 0; i < some; i++) {
        int64_t b = order.row[start + i];
        rows[i] = c_of(t, b) + s.hidden, to[i] = z_gates + b * w.seen_again * s.hidden;
      }
      multiply(of_gates, item, some, rows, to, kZero, nullptr, member);
    }
  }

  void project_h(int64_t t, const Span& active, int64_t item, int member) {
    const T** rows = pointers + member * 2 * kRowChunk;
    T** to = (T**)(rows + kRowChunk);
    int64_t first = of_r.row[item * kBunch], end = at_most(s.state, first + kBunch * W);
    for (int64_t start = active.from; start < active.to; start += kRowChunk) {
      int64_t some = at_most(kRowChunk, active.to - start);
      for (int64_t i = 0; i < some; i++) {
        int64_t b = order.row[start + i];
        rows[i] = m + b * s.hidden, to[i] = s.y(t, b);
      }
      multiply(of_r, item, some, rows, to, kZero, nullptr, member);
      for (int64_t i = 0; i < some; i++) settle(t, order.row[start + i], to[i], first, end);
    }
  }

  void row(int64_t t, int64_t b, int64_t in_chunk, int member) const {
    T *mine = scratch + member * scratch_size, *made = s.projected ? m + b * s.hidden : mine;
    T* c = s.array(kCells) ? s.array(kCells) + s.at(t, b) * w.slots_width : c_now + b * w.slots_width;
    const T* of_gates = w.seen_again ? z_gates + b * w.seen_again * s.hidden : nullptr;
    if (w.cell == kStabilized) StabilizedRow<T>{w, t, b, c_of(t, b)}.there(z(in_chunk, b), kept(t, b), c, made);
    else if (w.cell == kMinimal) MinimalRow<T>{w, t, b, c_of(t, b)}.there(z(in_chunk, b), kept(t, b), c, made);
    else ForwardRow<T>{w, t, b, z(in_chunk, b), w.joint ? z_h_row(b) : nullptr, of_gates, bias, kept(t, b), c_of(t, b), c, made,
                       mine + w.padded()}.run();
    if (!s.projected) settle(t, b, made, 0, s.hidden);
  }

  // Features first to end of h as the projection made them, or m, to those of y.
  void settle(int64_t t, int64_t b, const T* made, int64_t first, int64_t end) const {
    T* y = s.y(t, b);
    const T* old = s.h_before(t, b);
    vectors<T>(end - first, [&](int64_t j, int64_t left) {
      int64_t k = first + j;
      Vec<T> h = load<T>(made + k, left);
      if (s.array(kRaw)) store<T>(s.array(kRaw) + s.at(t, b) * s.state + k, h, left);
      if (s.proj_clip != 0) h = limited<T>(h, -s.proj_clip, s.proj_clip);
      if (w.zoned_h()) h = w.held(load<T>(old + k, left), h, w.let_h(t, b, k, left));
      store<T>(y + k, h, left);
    });
    if (w.mask(0, 0)) for_reading(b, y + first, first, end - first);
  }
};

}  // namespace
