// Weights as they are stored, [outputs, K] row-major, turned into panels of outputs. A product of few steps turns a
// block of k into the first-level cache and uses it there: such a call neither packs all weights nor relies on weights
// packed before, which a changed one would have made stale.
#pragma once
#include "product.h"

namespace {

// Vectors of at most 32 bytes: putting together the quarters of larger ones costs more than they save (measured).
constexpr int kTurnBytes = kBytes > 32 ? 32 : kBytes;
template <class T> constexpr int kQuarter = 16 / sizeof(T);  // numbers in 16 bytes
template <class T> constexpr int kTurned = kTurnBytes / sizeof(T);
template <class T> struct Turn;
template <> struct Turn<float> {
  typedef float V __attribute__((vector_size(kTurnBytes)));
  typedef float Loose __attribute__((vector_size(kTurnBytes), aligned(4), may_alias));
};
template <> struct Turn<double> {
  typedef double V __attribute__((vector_size(kTurnBytes)));
  typedef double Loose __attribute__((vector_size(kTurnBytes), aligned(8), may_alias));
};

// low, high: the lower (upper) halves of each 16 bytes of a and b, their numbers in turn. quarters: 16 bytes each of p
// and, in larger vectors, of further.
typedef Turn<float>::V Floats;
typedef Turn<double>::V Doubles;
#if defined(__AVX2__)
INLINE Floats turned_fma(float a, Floats b, Floats c) { return (Floats)_mm256_fmadd_ps(_mm256_set1_ps(a), (__m256)b, (__m256)c); }
INLINE Doubles turned_fma(double a, Doubles b, Doubles c) { return (Doubles)_mm256_fmadd_pd(_mm256_set1_pd(a), (__m256d)b, (__m256d)c); }
INLINE Floats low(Floats a, Floats b) { return (Floats)_mm256_unpacklo_ps((__m256)a, (__m256)b); }
INLINE Floats high(Floats a, Floats b) { return (Floats)_mm256_unpackhi_ps((__m256)a, (__m256)b); }
INLINE Doubles low(Doubles a, Doubles b) { return (Doubles)_mm256_unpacklo_pd((__m256d)a, (__m256d)b); }
INLINE Doubles high(Doubles a, Doubles b) { return (Doubles)_mm256_unpackhi_pd((__m256d)a, (__m256d)b); }
template <class T> INLINE typename Turn<T>::V quarters(const T* p, const T* further) {
  __m256 v = _mm256_castps128_ps256(_mm_loadu_ps((const float*)p));
  return (typename Turn<T>::V)_mm256_insertf128_ps(v, _mm_loadu_ps((const float*)further), 1);
}
#else
#if defined(__aarch64__)
INLINE Floats low(Floats a, Floats b) { return (Floats)vzip1q_f32((float32x4_t)a, (float32x4_t)b); }
INLINE Floats high(Floats a, Floats b) { return (Floats)vzip2q_f32((float32x4_t)a, (float32x4_t)b); }
INLINE Doubles low(Doubles a, Doubles b) { return (Doubles)vzip1q_f64((float64x2_t)a, (float64x2_t)b); }
INLINE Doubles high(Doubles a, Doubles b) { return (Doubles)vzip2q_f64((float64x2_t)a, (float64x2_t)b); }
#else
INLINE Floats low(Floats a, Floats b) { return (Floats)_mm_unpacklo_ps((__m128)a, (__m128)b); }
INLINE Floats high(Floats a, Floats b) { return (Floats)_mm_unpackhi_ps((__m128)a, (__m128)b); }
INLINE Doubles low(Doubles a, Doubles b) { return (Doubles)_mm_unpacklo_pd((__m128d)a, (__m128d)b); }
INLINE Doubles high(Doubles a, Doubles b) { return (Doubles)_mm_unpackhi_pd((__m128d)a, (__m128d)b); }
#endif
INLINE Floats turned_fma(float a, Floats b, Floats c) { return fma(splat(a), b, c); }
INLINE Doubles turned_fma(double a, Doubles b, Doubles c) { return fma(splat(a), b, c); }
template <class T> INLINE typename Turn<T>::V quarters(const T* p, const T*) { return *(const typename Turn<T>::Loose*)p; }
#endif

// to[j][n] = p[n * K + j], n < kTurned, j < kQuarter. half: p some rows on.
INLINE void turn(const float* p, const float* half, int64_t K, Floats* to) {
  Floats r0 = quarters(p, half), r1 = quarters(p + K, half + K);
  Floats r2 = quarters(p + 2 * K, half + 2 * K), r3 = quarters(p + 3 * K, half + 3 * K);
  Doubles a = (Doubles)low(r0, r1), b = (Doubles)low(r2, r3), c = (Doubles)high(r0, r1), d = (Doubles)high(r2, r3);
  to[0] = (Floats)low(a, b), to[1] = (Floats)high(a, b), to[2] = (Floats)low(c, d), to[3] = (Floats)high(c, d);
}
INLINE void turn(const double* p, const double* half, int64_t K, Doubles* to) {
  Doubles r0 = quarters(p, half), r1 = quarters(p + K, half + K);
  to[0] = low(r0, r1), to[1] = high(r0, r1);
}

// A panel [columns, kWide] of some columns of b [rows, K]: panel[k][n] = b[n][k], n < rows, 0 beyond.
template <class T> static void pack_turned(const T* b, int64_t K, int64_t columns, int64_t rows, T* panel) {
  constexpr int N = kTurned<T>, W = kWide<T>, Q = kQuarter<T>;
  int64_t whole = columns / Q * Q;
  if (rows < W) memset(panel, 0, columns * W * sizeof(T));
  for (int64_t n = 0; n < at_most(rows, W); n += N) {
    const T *p = b + n * K, *half = p + Q * K;
    int64_t some = at_most(rows - n, N), k = 0;
    if (some == N)
      for (; k < whole; k += Q) {
        typename Turn<T>::V turned[Q];
        turn(p + k, half + k, K, turned);
        for (int j = 0; j < Q; j++) *(typename Turn<T>::Loose*)(panel + (k + j) * W + n) = turned[j];
      }
    for (; k < columns; k++)
      for (int64_t i = 0; i < some; i++) panel[k * W + n + i] = p[i * K + k];
  }
}

// The rows' sums of one block of k and 2 kTurned outputs, from `k` to its end.
template <class T, int MR> INLINE void sum_turned(const T* const* a, const T* w, int64_t K, int64_t k, typename Turn<T>::V (*sum)[2]) {
  constexpr int Q = kQuarter<T>, N = kTurned<T>;
#pragma GCC unroll 2
  for (int g = 0; g < 2; g++) {
    typename Turn<T>::V b[Q];
    turn(w + g * N * K + k, w + (g * N + Q) * K + k, K, b);
#pragma GCC unroll 4
    for (int j = 0; j < Q; j++)
#pragma GCC unroll 4
      for (int i = 0; i < MR; i++) sum[i][g] = turned_fma(a[i][k + j], b[j], sum[i][g]);
  }
}

// c [MR, 2 kTurned] += a · w^T without a panel between. Two blocks of k at a time: one's additions wait for one another.
// next: where the weights begin that are read after these.
template <class T, int MR> static void rows_by_turned(int64_t K, const T* const* a, const T* w, const T* next, T* c, int64_t row_stride) {
  constexpr int Q = kQuarter<T>, N = kTurned<T>;
  for (int64_t start = 0; start < K; start += 2 * kBlock) {
    int64_t middle = at_most(K, start + kBlock), end = at_most(K, start + 2 * kBlock), both = end - middle;
    typename Turn<T>::V sum[2][MR][2] = {};
    int64_t k = start;
    // What comes next of these outputs, and of the next ones, a row at a time: more streams than the processor follows.
    const T* ahead = end < K ? w + end : next;
    for (int64_t row = 0; k < start + both; k += Q, row++) {
      if (row < 2 * N)
        for (int64_t line = 0; line < 2 * kBlock; line += 64 / (int64_t)sizeof(T)) __builtin_prefetch(ahead + row * K + line);
      sum_turned<T, MR>(a, w, K, k, sum[0]), sum_turned<T, MR>(a, w, K, k + kBlock, sum[1]);
    }
    for (; k < middle; k += Q) sum_turned<T, MR>(a, w, K, k, sum[0]);
    for (int i = 0; i < MR; i++)
      for (int g = 0; g < 2; g++) {
        typename Turn<T>::Loose* to = (typename Turn<T>::Loose*)(c + i * row_stride + g * N);
        typename Turn<T>::V one = *to + sum[0][i][g];
        *to = both ? one + sum[1][i][g] : one;
      }
  }
}

// Is a product of so many rows done so? More of them make a panel worth its while.
template <class T> INLINE bool without_panel(int64_t K, int64_t rows, int64_t outputs) {
  return rows <= 2 && outputs >= kWide<T> && K % kQuarter<T> == 0;
}

constexpr int64_t kTogether = 2;  // panels of kBlock that stay in the first-level cache
template <class T> constexpr int64_t kTurnedSize = kTogether * kBlock * kWide<T>;

// to [rows, count panels] += a · w^T. w: the first output of the first panel, whose outputs are at most `outputs`; each
// further panel is `apart` outputs on. Sums in the order of product. scratch: kTurnedSize.
template <class T> static void turned_product(int64_t K, int64_t rows, const T* const* a, const T* w, int64_t outputs, int64_t count, int64_t apart, const Place<T>& to, T* scratch) {
  constexpr int W = kWide<T>;
  if (without_panel<T>(K, rows, outputs)) {
    const T* from = w;
    for (int64_t n = 0, then = 2 * kTurned<T>; n < count * W; n = then, then += 2 * kTurned<T>) {
      const T* next = w + (then < count * W ? then / W * apart + then % W : W) * K;
      T* c = to.on(0, n / W).c + n % W;
      if (rows == 1) rows_by_turned<T, 1>(K, a, from, next, c, to.row);
      else if (rows == 2) rows_by_turned<T, 2>(K, a, from, next, c, to.row);
      from = next;
    }
    return;
  }
  for (int64_t p = 0; p < count; p += kTogether) {
    int64_t some = at_most(kTogether, count - p);
    for (int64_t start = 0; start < K; start += kBlock) {
      int64_t columns = at_most(kBlock, K - start);
      for (int64_t n = 0; n < some; n++)
        pack_turned<T>(w + (p + n) * apart * K + start, K, columns, outputs, scratch + n * columns * W);
      for (int64_t block = 0; block < row_blocks(rows); block++) {
        int64_t from = row_block(rows, block), these = row_block(rows, block + 1) - from;
        const T* from_start[kMostRows];
        for (int64_t i = 0; i < these; i++) from_start[i] = a[from + i] + start;
        product<T>(columns, these, from_start, scratch, some, to.on(from, p));
      }
    }
  }
}

}  // namespace
