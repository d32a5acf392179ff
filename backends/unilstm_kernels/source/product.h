// Matrix products of a few rows by packed panels. Sums over k run in blocks, the same for every shape and instruction
// set: kBlock products are added up from zero, and then to the result. The error grows as K / kBlock + kBlock.
#pragma once
#include "vector.h"

namespace {

constexpr int64_t kBlock = 64;
constexpr int kMostRows = 6;  // 6 rows by two vectors take 12 of AVX2's 16 registers
constexpr int64_t kRowChunk = 48;

INLINE int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t parts(int64_t count, int64_t size) { return (count + size - 1) / size; }

// Where a product goes: its first number, and how far its rows and its panels are apart.
template <class T> struct Place {
  T* c;
  int64_t row, panel = kWide<T>;
  Place on(int64_t rows, int64_t panels) const { return {c + rows * row + panels * panel, row, panel}; }
};

// Memory to ask for meanwhile, so many lines of the cache with each kBlock.
template <class T> struct Ahead {
  const T* from = nullptr;
  int64_t lines = 0;
};

// to [MR, NP panels of kWide] += a [MR, K] · panels. a: a pointer a row, elements STEP apart; panels follow one another.
template <class T, int MR, int NP, int STEP>
static void rows_by_panels(int64_t K, const T* const* a, const T* panels, const Place<T>& place, Ahead<T> ahead = {}) {
  constexpr int L = kLanes<T>, W = kWide<T>, NV = 2 * NP;
  for (int64_t start = 0; start < K; start += kBlock) {
    int64_t end = at_most(K, start + kBlock);
    for (int64_t n = 0; n < ahead.lines; n++, ahead.from += 64 / sizeof(T)) __builtin_prefetch(ahead.from, 0, 2);
    Vec<T> sum[MR][NV] = {};
    for (int64_t k = start; k < end; k++) {
      Vec<T> b[NV];
#pragma GCC unroll 8
      for (int j = 0; j < NV; j++) b[j] = load<T>(panels + (j / 2) * K * W + k * W + (j % 2) * L);
#pragma GCC unroll 8
      for (int i = 0; i < MR; i++) {
        Vec<T> s = splat(a[i][k * STEP]);
#pragma GCC unroll 8
        for (int j = 0; j < NV; j++) sum[i][j] = fma(s, b[j], sum[i][j]);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
      for (int j = 0; j < NV; j++) {
        T* to = place.c + i * place.row + (j / 2) * place.panel + (j % 2) * L;
        store<T>(to, load<T>(to) + sum[i][j]);
      }
  }
}

template <class T, int NP> INLINE void few_rows(int64_t K, int64_t rows, const T* const* a, const T* panels, const Place<T>& to) {
  if (rows == 1) rows_by_panels<T, 1, NP, 1>(K, a, panels, to);
  else rows_by_panels<T, 2, NP, 1>(K, a, panels, to);
}

// to [rows, panel] += a · panel, rows <= kMostRows.
template <class T> INLINE void row_block_product(int64_t K, int64_t rows, const T* const* a, const T* panel, const Place<T>& to, Ahead<T> ahead = {}) {
  switch (rows) {
    case 1: case 2: return few_rows<T, 1>(K, rows, a, panel, to);
    case 3: return rows_by_panels<T, 3, 1, 1>(K, a, panel, to, ahead);
    case 4: return rows_by_panels<T, 4, 1, 1>(K, a, panel, to, ahead);
    case 5: return rows_by_panels<T, 5, 1, 1>(K, a, panel, to, ahead);
    default: return rows_by_panels<T, 6, 1, 1>(K, a, panel, to, ahead);
  }
}

// all [rows, count panels] += a · panels, rows <= kMostRows. Few rows take several panels at once: one row and one panel
// would wait for the multiply-add before.
template <class T> static void small_product(int64_t K, int64_t rows, const T* const* a, const T* panels, int64_t count, Place<T> all) {
  for (int64_t p = 0, step = 1; p < count; p += step) {
    const T* b = panels + p * K * kWide<T>;
    const Place<T> to = all.on(0, p);
    step = rows == 1 && count - p >= 4 ? 4 : rows <= 2 && count - p >= 2 ? 2 : 1;
    if (step == 4) rows_by_panels<T, 1, 4, 1>(K, a, b, to);
    else if (step == 2) few_rows<T, 2>(K, rows, a, b, to);
    else row_block_product<T>(K, rows, a, b, to);
  }
}

// The same for one panel and a [K][rows] packed: rows beside one another.
template <class T> static void packed_product(int64_t K, int rows, const T* packed, const T* panel, T* c) {
  const T* a[kMostRows];
  for (int i = 0; i < rows; i++) a[i] = packed + i;
  const Place<T> to{c, kWide<T>};
  switch (rows) {
    case 1: rows_by_panels<T, 1, 1, 1>(K, a, panel, to); break;
    case 2: rows_by_panels<T, 2, 1, 2>(K, a, panel, to); break;
    case 3: rows_by_panels<T, 3, 1, 3>(K, a, panel, to); break;
    case 4: rows_by_panels<T, 4, 1, 4>(K, a, panel, to); break;
    case 5: rows_by_panels<T, 5, 1, 5>(K, a, panel, to); break;
    default: rows_by_panels<T, 6, 1, 6>(K, a, panel, to);
  }
}

// Rows as blocks of at most kMostRows, as even as can be: block n of rows starts here.
INLINE int64_t row_blocks(int64_t rows) { return parts(rows, kMostRows); }
INLINE int64_t row_block(int64_t rows, int64_t n) { return rows * n / row_blocks(rows); }

// So much of a panel's K stays in the first-level cache, beside what it is multiplied with, for all rows.
template <class T> constexpr int64_t kDeep = 16384 / (kWide<T> * sizeof(T));
static_assert(kDeep<float> % kBlock == 0 && kDeep<double> % kBlock == 0, "sums go by whole blocks");

// to [rows, panel] += a · panel, any number of rows. What follows the panel in memory is asked for meanwhile.
template <class T> static void panel_product(int64_t K, int64_t rows, const T* const* a, const T* panel, Place<T> to) {
  int64_t blocks = row_blocks(rows), each = rows / blocks, longer = rows % blocks;  // as even as can be
  // For few rows all is waiting for memory anyway.
  int64_t lines = blocks > 2 ? parts(kBlock * kWide<T> * (int64_t)sizeof(T) / 64, blocks) : 0;
  for (int64_t start = 0; start < K; start += kDeep<T>) {
    int64_t depth = at_most(kDeep<T>, K - start), from = 0;
    Ahead<T> ahead{panel + (start + depth) * kWide<T>, lines};
    for (int64_t n = 0; n < blocks; n++) {
      int64_t some = each + (n < longer);
      const T* these[kMostRows];
      for (int64_t i = 0; i < some; i++) these[i] = a[from + i] + start;
      row_block_product<T>(depth, some, these, panel + start * kWide<T>, to.on(from, 0), ahead);
      from += some, ahead.from += lines * parts(depth, kBlock) * (64 / (int64_t)sizeof(T));
    }
  }
}

// to [rows, count panels] += a · panels.
template <class T> static void product(int64_t K, int64_t rows, const T* const* a, const T* panels, int64_t count, Place<T> to) {
  if (!rows) return;
  if (rows <= 2) return small_product<T>(K, rows, a, panels, count, to);
  for (int64_t p = 0; p < count; p++) panel_product<T>(K, rows, a, panels + p * K * kWide<T>, to.on(0, p));
}

// One row of a panel: `columns` of b, times mask where there is one; 0 beyond them.
template <class T> INLINE void pack_row(const T* b, const T* mask, int64_t columns, T* to) {
  for (int v = 0; v < kWide<T>; v += kLanes<T>) {
    Vec<T> one = load<T>(b + v, columns - v);
    store<T>(to + v, mask ? one * load<T>(mask + v, columns - v) : one);
  }
}

}  // namespace
