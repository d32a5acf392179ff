// Sums of outer products over many steps and rows: the gradients of weight matrices.
#pragma once
#include "shape.h"

namespace {

constexpr int64_t kCopied = 8;  // at least kMostRows; rows of `a` have so much memory behind them
constexpr int64_t kDepth = 256;  // of a packed block: its sum stays in registers, kBlock by kBlock

constexpr int64_t kTurnedMember = kDepth * kRowChunk + kCopied;

// A list of rows, all of one width, some of them times a mask.
template <class T> struct Rows {
  const T** row;
  const T** mask;  // or null
};

// out [M, N] += sum over n < count of a.row[n][0..M) ⊗ b.row[n][0..N), in the order of n, kDepth at a time.
template <class T> struct Product {
  Rows<T> b;
  int64_t N;
  T* out;  // null: not wanted
};

// One product, or two of the same `a`.
template <class T> struct Outer {
  static constexpr int W = kWide<T>;
  Team* team;
  T *panels, *turned;  // [panels of N of each product][kDepth][W], [members][kDepth][kRowChunk]

  static int64_t panel_size(int64_t N) { return parts(N, W) * kDepth * W; }
  static int64_t turned_size(int members) { return members * kTurnedMember; }

  void run(int64_t count, const T* const* a, int64_t M, Product<T> one, Product<T> two = {}) {
    if (!one.out) one = two, two = {};
    if (!one.out) return;
    if (!two.out) two.N = 0;
    const Product<T> of[2] = {one, two};
    const int64_t first = parts(one.N, W), all = first + parts(two.N, W);
    for (int64_t start = 0; start < count; start += kDepth) {
      int64_t depth = at_most(kDepth, count - start);
      each(team, all, [&](int64_t p, int) {
        const Product<T>& c = of[p >= first];
        int64_t column = (p < first ? p : p - first) * W;
        for (int64_t n = 0; n < depth; n++) {
          const T* mask = c.b.mask ? c.b.mask[start + n] + column : nullptr;
          pack_row<T>(c.b.row[start + n] + column, mask, c.N - column, panels + (p * depth + n) * W);
        }
      });
      each(team, parts(M, kRowChunk), [&](int64_t item, int member) {
        int64_t from = item * kRowChunk, rows = at_most(kRowChunk, M - from);
        turn(a + start, depth, from, rows, member);
        for (int64_t p = 0, some; p < all; p += some) {
          const Product<T>& c = of[p >= first];
          int64_t column = (p < first ? p : p - first) * W;
          some = column + kAtOnce * W <= c.N ? kAtOnce : 1;
          if (some == kAtOnce) panels_of<kAtOnce>(depth, from, rows, p, column, c, member);
          else panels_of<1>(depth, from, rows, p, column, c, member);
        }
      });
    }
  }

  // Rows of a, as columns of the blocks that a product takes.
  void turn(const T* const* a, int64_t depth, int64_t from, int64_t rows, int member) {
    T* packed = turned + member * kTurnedMember;
    for (int64_t block = 0; block < row_blocks(rows); block++) {
      int64_t start = row_block(rows, block), some = row_block(rows, block + 1) - start;
      T* to = packed + start * depth;
      // A fixed number at once; those beyond `some` are overwritten by the next.
      for (int64_t n = 0; n < depth; n++) memcpy(to + n * some, a[n] + from + start, kCopied * sizeof(T));
    }
  }

  // NP panels from p on, as deep at once as stays in the first-level cache.
  template <int NP> void panels_of(int64_t depth, int64_t from, int64_t rows, int64_t p, int64_t column, const Product<T>& c, int member) {
    const T* packed = turned + member * kTurnedMember;
    constexpr int64_t deep = kDepth / NP;
    for (int64_t k = 0; k < depth; k += deep) {
      const InPanels<T> b{panels + (p * depth + k) * W, depth * W};
      for (int64_t block = 0; block < row_blocks(rows); block++) {
        int64_t start = row_block(rows, block), some = row_block(rows, block + 1) - start;
        add<NP>(at_most(deep, depth - k), (int)some, packed + start * depth + k * some, b, {c.out + (from + start) * c.N + column, c.N}, c.N - column);
      }
    }
  }

  // To some rows of out, of which `left` columns are there: where not all, by way of a tile.
  template <int NP> void add(int64_t depth, int rows, const T* packed, const InPanels<T>& b, const Place<T>& to, int64_t left) {
    if (left >= NP * W) return packed_product<T, NP>(depth, rows, packed, b, to);
    alignas(64) T tile[kMostRows * W];
    for (int i = 0; i < rows; i++)
      for (int v = 0; v < W; v += kLanes<T>) store<T>(tile + i * W + v, load<T>(to.c + i * to.row + v, left - v));
    packed_product<T, 1>(depth, rows, packed, b, {tile, W});
    for (int i = 0; i < rows; i++)
      for (int v = 0; v < W; v += kLanes<T>) store<T>(to.c + i * to.row + v, load<T>(tile + i * W + v), left - v);
  }
};

}  // namespace
