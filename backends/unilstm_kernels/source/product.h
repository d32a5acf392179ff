// Matrix products of a few rows by packed panels. Sums over k run in blocks, the same for every shape and instruction
// set: kBlock products are added up from zero, and then to the result. The error grows as K / kBlock + kBlock.
#pragma once
#include "vector.h"

namespace {

constexpr int64_t kBlock = 64;
constexpr int kMostRows = 6;  // 6 rows by a panel, of two vectors, take 12 of AVX2's 16 registers
constexpr int64_t kRowChunk = 64;
constexpr int64_t kAtOnce = kRegisters / 16;  // so many panels: the more of a multiply-adds read, the fewer loads

INLINE int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t parts(int64_t count, int64_t size) { return (count + size - 1) / size; }

// Where a product goes: its first number, and how far its rows and its panels are apart.
template <class T> struct Place {
  T* c;
  int64_t row, panel = kWide<T>;
  Place on(int64_t rows, int64_t panels) const { return {c + rows * row + panels * panel, row, panel}; }
};

// A matrix in packed panels: rows of kWide numbers, and how far panels are apart.
template <class T> struct InPanels {
  const T* first;
  int64_t apart;
  InPanels on(int64_t rows, int64_t panels) const { return {first + rows * kWide<T> + panels * apart, apart}; }
};

// to [MR, NP panels] += a [MR, n] · n rows of NP panels. a: a pointer a row, to elements STEP apart, from `start` on.
template <class T, int MR, int NP, int STEP>
INLINE void one_block(int64_t start, int64_t n, const T* const* a, const InPanels<T>& panels, const Place<T>& place) {
  constexpr int L = kLanes<T>, W = kWide<T>, NV = 2 * NP;
  const T *row[MR], *from = panels.first + start * W;
  for (int i = 0; i < MR; i++) row[i] = a[i] + start * STEP;
  const int64_t apart = panels.apart;
  Vec<T> sum[MR][NV] = {};
  for (int64_t k = 0; k < n; k++) {
    Vec<T> b[NV];
#pragma GCC unroll 8
    for (int j = 0; j < NV; j++) {
      b[j] = load<T>(from + (j / 2) * apart + k * W + (j % 2) * L);
      if (MR > 1) in_register<T>(b[j]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++) {
      Vec<T> s = splat(row[i][k * STEP]);
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

// to [MR, NP panels] += a [MR, K] · panels. With each kBlock, so many lines of the panels from row K on are asked for,
// from line `ahead` on. A function of its own: among all that callers hold, GCC keeps pointers of rows in vector registers.
template <class T, int MR, int NP, int STEP>
__attribute__((noinline)) static void rows_by_panels(int64_t K, const T* const* a, const InPanels<T>& panels, const Place<T>& place, int64_t ahead = 0, int64_t lines = 0) {
  for (int64_t start = 0; start < K; start += kBlock) {
    for (int64_t n = 0; n < lines; n++, ahead++)
      for (int p = 0; p < NP; p++) __builtin_prefetch(panels.on(K, p).first + ahead * (64 / sizeof(T)), 0, 2);
    one_block<T, MR, NP, STEP>(start, at_most(K - start, kBlock), a, panels, place);
  }
}

// to [rows, NP panels] += a · panels, rows <= kMostRows; no more than two where they are four panels.
template <class T, int NP> INLINE void row_block_product(int64_t K, int64_t rows, const T* const* a, const InPanels<T>& panels, const Place<T>& to, int64_t ahead, int64_t lines) {
  if (rows == 1) return rows_by_panels<T, 1, NP, 1>(K, a, panels, to);
  if (NP == 4 || rows == 2) return rows_by_panels<T, 2, NP, 1>(K, a, panels, to);
  constexpr int P = NP == 4 ? 1 : NP;
  switch (rows) {
    case 3: return rows_by_panels<T, 3, P, 1>(K, a, panels, to, ahead, lines);
    case 4: return rows_by_panels<T, 4, P, 1>(K, a, panels, to, ahead, lines);
    case 5: return rows_by_panels<T, 5, P, 1>(K, a, panels, to, ahead, lines);
    default: return rows_by_panels<T, 6, P, 1>(K, a, panels, to, ahead, lines);
  }
}

// The same for a [K][rows] packed: rows beside one another.
template <class T, int NP> static void packed_product(int64_t K, int rows, const T* packed, const InPanels<T>& b, const Place<T>& to) {
  const T* a[kMostRows];
  for (int i = 0; i < rows; i++) a[i] = packed + i;
  switch (rows) {
    case 1: rows_by_panels<T, 1, NP, 1>(K, a, b, to); break;
    case 2: rows_by_panels<T, 2, NP, 2>(K, a, b, to); break;
    case 3: rows_by_panels<T, 3, NP, 3>(K, a, b, to); break;
    case 4: rows_by_panels<T, 4, NP, 4>(K, a, b, to); break;
    case 5: rows_by_panels<T, 5, NP, 5>(K, a, b, to); break;
    default: rows_by_panels<T, 6, NP, 6>(K, a, b, to);
  }
}

// Asks for rows, of which other processors have written some, all at once: a product would come to them one by one, and
// wait each time. More of them than this would displace one another.
template <class T> INLINE void ask_for(int64_t rows, const T* const* a, int64_t width) {
  if (rows * width * (int64_t)sizeof(T) > 16384) return;
  for (int64_t i = 0; i < rows; i++)
    for (int64_t k = 0; k < width; k += 64 / (int64_t)sizeof(T)) __builtin_prefetch(a[i] + k);
}

// Rows as blocks of at most kMostRows, as even as can be: block n of rows starts here.
INLINE int64_t row_blocks(int64_t rows) { return parts(rows, kMostRows); }
INLINE int64_t row_block(int64_t rows, int64_t n) { return rows * n / row_blocks(rows); }

// So much of NP panels' K stays in the first-level cache, beside what it is multiplied with, for all rows.
template <class T, int NP> constexpr int64_t kDeep = 16384 / (NP * kWide<T> * sizeof(T)) / kBlock * kBlock;

// to [rows, NP panels] += a · panels, any number of rows. What follows in the panels is asked for meanwhile.
template <class T, int NP> static void panels_product(int64_t K, int64_t rows, const T* const* a, const InPanels<T>& panels, const Place<T>& to) {
  int64_t blocks = row_blocks(rows), each = rows / blocks, longer = rows % blocks;  // as even as can be
  if (blocks == 1) return row_block_product<T, NP>(K, rows, a, panels, to, 0, 0);
  // For few rows all is waiting for memory anyway.
  int64_t lines = blocks > 2 ? parts(kBlock * kWide<T> * (int64_t)sizeof(T) / 64, blocks) : 0;
  constexpr int64_t deep = kDeep<T, NP> ? kDeep<T, NP> : kBlock;
  for (int64_t start = 0; start < K; start += deep) {
    int64_t depth = at_most(deep, K - start), from = 0, ahead = 0;
    for (int64_t n = 0; n < blocks; n++) {
      int64_t some = each + (n < longer);
      const T* these[kMostRows];
      for (int64_t i = 0; i < some; i++) these[i] = a[from + i] + start;
      row_block_product<T, NP>(depth, some, these, panels.on(start, 0), to.on(from, 0), ahead, lines);
      from += some, ahead += lines * parts(depth, kBlock);
    }
  }
}

template <class T, int NP> static void panels_at_once(int64_t K, int64_t rows, const T* const* a, const T* panels, int64_t count, const Place<T>& to) {
  const InPanels<T> all{panels, K * kWide<T>};
  int64_t p = 0;
  for (; p + NP <= count; p += NP) panels_product<T, NP>(K, rows, a, all.on(0, p), to.on(0, p));
  if constexpr (NP > 1)
    if (p < count) panels_at_once<T, NP / 2>(K, rows, a, all.on(0, p).first, count - p, to.on(0, p));
}

// to [rows, count panels] += a · panels. Few rows take several panels at once: one row and one panel would wait for the
// multiply-add before. So do many where there are registers for it (kAtOnce).
template <class T> static void product(int64_t K, int64_t rows, const T* const* a, const T* panels, int64_t count, const Place<T>& to) {
  if (!rows) return;
  if (rows == 1) panels_at_once<T, 4>(K, rows, a, panels, count, to);
  else if (rows == 2) panels_at_once<T, 2 * kAtOnce>(K, rows, a, panels, count, to);
  else panels_at_once<T, kAtOnce>(K, rows, a, panels, count, to);
}

// Where the sums of some rows are made, before what there is of them is put where it goes: [rows, panels from `first` to
// before `end`] of a product of so many columns.
template <class T> struct Tile {
  T* sums;
  int64_t rows, first, end, columns;
  Place<T> place() const { return {sums, width()}; }
  int64_t width() const { return (end - first) * kWide<T>; }
  void clear() const { memset(sums, 0, rows * width() * sizeof(T)); }

  // a · all the panels that are packed.
  void of(int64_t K, const T* const* a, const T* panels) const {
    clear();
    product<T>(K, rows, a, panels + first * K * kWide<T>, end - first, place());
  }

  // f(i, k, left, sum): those of row i from column k on, of which so many are left.
  template <class F> void each(const F& f) const {
    const int64_t from = first * kWide<T>;
    for (int64_t i = 0; i < rows; i++)
      for (int64_t v = 0; v < width(); v += kLanes<T>) f(i, from + v, columns - from - v, load<T>(sums + i * width() + v));
  }
};

// One row of a panel: `columns` of b, times mask where there is one; 0 beyond them.
template <class T> INLINE void pack_row(const T* b, const T* mask, int64_t columns, T* to) {
  for (int v = 0; v < kWide<T>; v += kLanes<T>) {
    Vec<T> one = load<T>(b + v, columns - v);
    store<T>(to + v, mask ? one * load<T>(mask + v, columns - v) : one);
  }
}

}  // namespace
