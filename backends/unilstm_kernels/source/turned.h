// Weights as they are stored, [outputs, K] row-major, read as panels of outputs: turned in registers, 16 bytes of each
// row at a time. Packing is a copy of them; a product of few rows reads them where they are, so that a call of a step or
// two neither packs nor relies on something packed before, which a changed weight would have made stale.
#pragma once
#include "product.h"

namespace {

template <class T> constexpr int kQuarter = 16 / sizeof(T);
constexpr int kMostRowsTurned = 3;

// low, high: the lower (upper) halves of each 16 bytes of a and b, their numbers in turn. quarters: the 16 bytes at p,
// p + step, …
#if defined(__AVX512F__)
INLINE Vec<float> low(Vec<float> a, Vec<float> b) { return (Vec<float>)_mm512_unpacklo_ps((__m512)a, (__m512)b); }
INLINE Vec<float> high(Vec<float> a, Vec<float> b) { return (Vec<float>)_mm512_unpackhi_ps((__m512)a, (__m512)b); }
INLINE Vec<double> low(Vec<double> a, Vec<double> b) { return (Vec<double>)_mm512_unpacklo_pd((__m512d)a, (__m512d)b); }
INLINE Vec<double> high(Vec<double> a, Vec<double> b) { return (Vec<double>)_mm512_unpackhi_pd((__m512d)a, (__m512d)b); }
template <class T> INLINE Vec<T> quarters(const T* p, int64_t step) {
  __m512 v = _mm512_castps128_ps512(_mm_loadu_ps((const float*)p));
  v = _mm512_insertf32x4(v, _mm_loadu_ps((const float*)(p + step)), 1);
  v = _mm512_insertf32x4(v, _mm_loadu_ps((const float*)(p + 2 * step)), 2);
  return (Vec<T>)_mm512_insertf32x4(v, _mm_loadu_ps((const float*)(p + 3 * step)), 3);
}
#elif defined(__AVX2__)
INLINE Vec<float> low(Vec<float> a, Vec<float> b) { return (Vec<float>)_mm256_unpacklo_ps((__m256)a, (__m256)b); }
INLINE Vec<float> high(Vec<float> a, Vec<float> b) { return (Vec<float>)_mm256_unpackhi_ps((__m256)a, (__m256)b); }
INLINE Vec<double> low(Vec<double> a, Vec<double> b) { return (Vec<double>)_mm256_unpacklo_pd((__m256d)a, (__m256d)b); }
INLINE Vec<double> high(Vec<double> a, Vec<double> b) { return (Vec<double>)_mm256_unpackhi_pd((__m256d)a, (__m256d)b); }
template <class T> INLINE Vec<T> quarters(const T* p, int64_t step) {
  __m256 v = _mm256_castps128_ps256(_mm_loadu_ps((const float*)p));
  return (Vec<T>)_mm256_insertf128_ps(v, _mm_loadu_ps((const float*)(p + step)), 1);
}
#elif defined(__aarch64__)
INLINE Vec<float> low(Vec<float> a, Vec<float> b) { return (Vec<float>)vzip1q_f32((float32x4_t)a, (float32x4_t)b); }
INLINE Vec<float> high(Vec<float> a, Vec<float> b) { return (Vec<float>)vzip2q_f32((float32x4_t)a, (float32x4_t)b); }
INLINE Vec<double> low(Vec<double> a, Vec<double> b) { return (Vec<double>)vzip1q_f64((float64x2_t)a, (float64x2_t)b); }
INLINE Vec<double> high(Vec<double> a, Vec<double> b) { return (Vec<double>)vzip2q_f64((float64x2_t)a, (float64x2_t)b); }
template <class T> INLINE Vec<T> quarters(const T* p, int64_t) { return load<T>(p); }
#else
INLINE Vec<float> low(Vec<float> a, Vec<float> b) { return (Vec<float>)_mm_unpacklo_ps((__m128)a, (__m128)b); }
INLINE Vec<float> high(Vec<float> a, Vec<float> b) { return (Vec<float>)_mm_unpackhi_ps((__m128)a, (__m128)b); }
INLINE Vec<double> low(Vec<double> a, Vec<double> b) { return (Vec<double>)_mm_unpacklo_pd((__m128d)a, (__m128d)b); }
INLINE Vec<double> high(Vec<double> a, Vec<double> b) { return (Vec<double>)_mm_unpackhi_pd((__m128d)a, (__m128d)b); }
template <class T> INLINE Vec<T> quarters(const T* p, int64_t) { return load<T>(p); }
#endif

// out[j][n] = w[n][j], for all lanes n and kQuarter columns j.
INLINE void turn(const float* w, int64_t K, Vec<float>* out) {
  Vec<float> r0 = quarters(w, 4 * K), r1 = quarters(w + K, 4 * K), r2 = quarters(w + 2 * K, 4 * K), r3 = quarters(w + 3 * K, 4 * K);
  Vec<double> a = (Vec<double>)low(r0, r1), b = (Vec<double>)low(r2, r3);
  Vec<double> c = (Vec<double>)high(r0, r1), d = (Vec<double>)high(r2, r3);
  out[0] = (Vec<float>)low(a, b), out[1] = (Vec<float>)high(a, b), out[2] = (Vec<float>)low(c, d), out[3] = (Vec<float>)high(c, d);
}
INLINE void turn(const double* w, int64_t K, Vec<double>* out) {
  Vec<double> r0 = quarters(w, 2 * K), r1 = quarters(w + K, 2 * K);
  out[0] = low(r0, r1), out[1] = high(r0, r1);
}

// The same of some rows and columns only; 0 in the lanes beyond the rows.
template <class T> static void turn_some(const T* w, int64_t K, int64_t rows, int64_t columns, Vec<T>* out) {
  for (int64_t j = 0; j < columns; j++) {
    alignas(64) T lanes[kLanes<T>] = {};
    for (int64_t n = 0; n < at_most(rows, kLanes<T>); n++) lanes[n] = w[n * K + j];
    out[j] = load<T>(lanes);
  }
}

// A panel [K, kWide] of the columns of b^T: panel[k][n] = b[n][k], n < rows, 0 beyond.
template <class T> static void pack_turned(const T* b, int64_t K, int64_t rows, T* panel) {
  constexpr int L = kLanes<T>, W = kWide<T>, Q = kQuarter<T>;
  constexpr int64_t line = 64 / sizeof(T);  // a row's cache line is read at once: rows a power of two apart share few
  for (int64_t start = 0; start < K; start += line)
    for (int v = 0; v < W; v += L)
      for (int64_t k = start; k < at_most(K, start + line); k += Q) {
        int64_t columns = at_most(Q, K - k);
        Vec<T> turned[Q];
        if (rows - v >= L && columns == Q) turn(b + v * K + k, K, turned);
        else turn_some(b + v * K + k, K, rows - v, columns, turned);
        for (int64_t j = 0; j < columns; j++) store<T>(panel + (k + j) * W + v, turned[j]);
      }
}

// c [MR, kWide] += a [MR, K] · w^T of `outputs` rows w; sums in the order of rows_by_panels.
template <class T, int MR> static void rows_by_turned(int64_t K, const T* const* a, const T* w, int64_t outputs, T* c, int64_t row_stride) {
  constexpr int L = kLanes<T>, Q = kQuarter<T>;
  for (int64_t start = 0; start < K; start += kBlock) {
    int64_t end = at_most(K, start + kBlock);
    Vec<T> sum[MR][2] = {};
    for (int64_t k = start; k < end; k += Q) {
      int64_t columns = at_most(Q, end - k);
#pragma GCC unroll 2
      for (int v = 0; v < 2; v++) {
        Vec<T> b[Q];
        const T* from = w + v * L * K + k;
        if (outputs - v * L >= L && columns == Q) {
          turn(from, K, b);
#pragma GCC unroll 4
          for (int j = 0; j < Q; j++)
#pragma GCC unroll 4
            for (int i = 0; i < MR; i++) sum[i][v] = fma(splat(a[i][k + j]), b[j], sum[i][v]);
        } else {
          turn_some(from, K, outputs - v * L, columns, b);
          for (int64_t j = 0; j < columns; j++)
            for (int i = 0; i < MR; i++) sum[i][v] = fma(splat(a[i][k + j]), b[j], sum[i][v]);
        }
      }
    }
    for (int i = 0; i < MR; i++)
      for (int v = 0; v < 2; v++) store<T>(c + i * row_stride + v * L, load<T>(c + i * row_stride + v * L) + sum[i][v]);
  }
}

// rows <= kMostRowsTurned
template <class T> static void turned_product(int64_t K, int64_t rows, const T* const* a, const T* w, int64_t outputs, T* c, int64_t row_stride) {
  switch (rows) {
    case 0: break;
    case 1: rows_by_turned<T, 1>(K, a, w, outputs, c, row_stride); break;
    case 2: rows_by_turned<T, 2>(K, a, w, outputs, c, row_stride); break;
    default: rows_by_turned<T, 3>(K, a, w, outputs, c, row_stride);
  }
}

}  // namespace
