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

// out [M, N] = sum over n < count of a.row[n][0..M) ⊗ b.row[n][0..N), in the order of n, kDepth at a time.
template <class T> struct Outer {
  static constexpr int W = kWide<T>;
  Team* team;
  T *panels, *turned;  // [panels of N][kDepth][W], [members][kDepth][kRowChunk]

  static int64_t panel_size(int64_t N) { return parts(N, W) * kDepth * W; }
  static int64_t turned_size(int members) { return members * kTurnedMember; }

  void run(int64_t count, const T* const* a, int64_t M, Rows<T> b, int64_t N, T* out) {
    memset(out, 0, M * N * sizeof(T));
    for (int64_t start = 0; start < count; start += kDepth) {
      int64_t depth = at_most(kDepth, count - start);
      each(team, parts(N, W), [&](int64_t p, int) {
        for (int64_t n = 0; n < depth; n++) {
          const T* mask = b.mask ? b.mask[start + n] + p * W : nullptr;
          pack_row<T>(b.row[start + n] + p * W, mask, N - p * W, panels + (p * depth + n) * W);
        }
      });
      each(team, parts(M, kRowChunk), [&](int64_t item, int member) { chunk(a + start, depth, item * kRowChunk, M, N, out, member); });
    }
  }

  void chunk(const T* const* a, int64_t depth, int64_t from, int64_t M, int64_t N, T* out, int member) {
    T* packed = turned + member * kTurnedMember;
    int64_t rows = at_most(kRowChunk, M - from), blocks = row_blocks(rows);
    for (int64_t block = 0; block < blocks; block++) {
      int64_t start = row_block(rows, block), some = row_block(rows, block + 1) - start;
      T* to = packed + start * depth;
      // A fixed number at once; those beyond `some` are overwritten by the next.
      for (int64_t n = 0; n < depth; n++) memcpy(to + n * some, a[n] + from + start, kCopied * sizeof(T));
    }
    for (int64_t p = 0; p < parts(N, W); p++)
      for (int64_t block = 0; block < blocks; block++) {
        int64_t start = row_block(rows, block), some = row_block(rows, block + 1) - start;
        add(depth, (int)some, packed + start * depth, p, from + start, N, out);
      }
  }

  void add(int64_t depth, int rows, const T* packed, int64_t p, int64_t row, int64_t N, T* out) {
    alignas(64) T tile[kMostRows * W];
    int64_t left = N - p * W;
    for (int i = 0; i < rows; i++)
      for (int v = 0; v < W; v += kLanes<T>) store<T>(tile + i * W + v, load<T>(out + (row + i) * N + p * W + v, left - v));
    packed_product<T>(depth, rows, packed, panels + p * depth * W, tile);
    for (int i = 0; i < rows; i++)
      for (int v = 0; v < W; v += kLanes<T>) store<T>(out + (row + i) * N + p * W + v, load<T>(tile + i * W + v), left - v);
  }
};

}  // namespace
