// Vectors of one instruction set, through GCC's and Clang's vector extensions. Compiled once a set; all in an unnamed
// namespace, so that the linker cannot put one set's code in the place of another's.
//
// Results must not depend on the set: every operation is IEEE's and elementwise, sums run over rows or k and never
// across a vector, and multiply-adds are fused exactly where the code says fma (-ffp-contract=off forbids others).
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#define INLINE_MEMBER inline __attribute__((always_inline))

namespace {

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX2__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kRegisters = 32;
#else
constexpr int kRegisters = 16;
#endif

template <class T> struct Of;
template <> struct Of<float> {
  typedef float V __attribute__((vector_size(kBytes)));
  typedef int32_t Int __attribute__((vector_size(kBytes)));
  typedef float Loose __attribute__((vector_size(kBytes), aligned(4), may_alias));
};
template <> struct Of<double> {
  typedef double V __attribute__((vector_size(kBytes)));
  typedef int64_t Int __attribute__((vector_size(kBytes)));
  typedef double Loose __attribute__((vector_size(kBytes), aligned(8), may_alias));
};
template <class T> using Vec = typename Of<T>::V;
template <class T> constexpr int kLanes = kBytes / sizeof(T);
template <class T> constexpr int kWide = 2 * kLanes<T>;  // columns of a packed panel: two vectors

template <class T> INLINE Vec<T> load(const T* p) { return *(const typename Of<T>::Loose*)p; }
template <class T> INLINE void store(T* p, Vec<T> v) { *(typename Of<T>::Loose*)p = v; }

// What was loaded stays in a register. GCC loads it anew for each of two or three uses, as operands in memory: a forward
// call of 2 rows took a third longer for it, of 3 rows half as long again.
template <class T> INLINE void in_register(Vec<T>& v) {
#if defined(__x86_64__)
  asm("" : "+v"(v));
#elif defined(__aarch64__)
  asm("" : "+w"(v));
#endif
}

// The first n lanes; the others are 0, and are not stored.
template <class T> INLINE Vec<T> load(const T* p, int64_t n) {
  if (n >= kLanes<T>) return load<T>(p);
  Vec<T> v{};
  if (n > 0) memcpy(&v, p, n * sizeof(T));
  return v;
}
template <class T> INLINE void store(T* p, Vec<T> v, int64_t n) {
  if (n >= kLanes<T>) store<T>(p, v);
  else if (n > 0) memcpy(p, &v, n * sizeof(T));
}

#if defined(__AVX512F__)
INLINE Vec<float> splat(float a) { return (Vec<float>)_mm512_set1_ps(a); }
INLINE Vec<double> splat(double a) { return (Vec<double>)_mm512_set1_pd(a); }
INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return (Vec<float>)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) { return (Vec<double>)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c); }
#elif defined(__AVX2__) && defined(__FMA__)
INLINE Vec<float> splat(float a) { return (Vec<float>)_mm256_set1_ps(a); }
INLINE Vec<double> splat(double a) { return (Vec<double>)_mm256_set1_pd(a); }
INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return (Vec<float>)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) { return (Vec<double>)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c); }
#elif defined(__aarch64__)
INLINE Vec<float> splat(float a) { return (Vec<float>)vdupq_n_f32(a); }
INLINE Vec<double> splat(double a) { return (Vec<double>)vdupq_n_f64(a); }
INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return (Vec<float>)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) { return (Vec<double>)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b); }
#else
// Without an instruction for it. The bits are the same; the speed is not, and the Python side prefers other paths here.
INLINE Vec<float> splat(float a) { return Vec<float>{a, a, a, a}; }
INLINE Vec<double> splat(double a) { return Vec<double>{a, a}; }

// The product is exact in double. Rounding the sum to odd keeps the second rounding, to float, from being a double one
// (Boldo & Melquiond 2008, Emulation of FMA and Correctly Rounded Sums).
INLINE float fma_of(float a, float b, float c) {
  double product = (double)a * b, sum = product + c, part = sum - product;
  double error = (product - (sum - part)) + (c - part);
  int64_t bits;
  memcpy(&bits, &sum, 8);
  if ((error > 0 || error < 0) && !(bits & 1)) bits += (error > 0) == (sum > 0) ? 1 : -1;
  memcpy(&sum, &bits, 8);
  return (float)sum;
}
INLINE double fma_of(double a, double b, double c) { return ::fma(a, b, c); }
template <class V> INLINE V fma_lanes(V a, V b, V c) {
  for (unsigned n = 0; n < sizeof(V) / sizeof(a[0]); n++) c[n] = fma_of(a[n], b[n], c[n]);
  return c;
}
INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return fma_lanes(a, b, c); }
INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) { return fma_lanes(a, b, c); }
#endif

// The greater (lesser) of a bound and x; NaN stays.
#if defined(__AVX512F__)
INLINE Vec<float> at_least(Vec<float> a, Vec<float> x) { return (Vec<float>)_mm512_max_ps((__m512)a, (__m512)x); }
INLINE Vec<double> at_least(Vec<double> a, Vec<double> x) { return (Vec<double>)_mm512_max_pd((__m512d)a, (__m512d)x); }
INLINE Vec<float> no_more(Vec<float> a, Vec<float> x) { return (Vec<float>)_mm512_min_ps((__m512)a, (__m512)x); }
INLINE Vec<double> no_more(Vec<double> a, Vec<double> x) { return (Vec<double>)_mm512_min_pd((__m512d)a, (__m512d)x); }
#elif defined(__AVX2__)
INLINE Vec<float> at_least(Vec<float> a, Vec<float> x) { return (Vec<float>)_mm256_max_ps((__m256)a, (__m256)x); }
INLINE Vec<double> at_least(Vec<double> a, Vec<double> x) { return (Vec<double>)_mm256_max_pd((__m256d)a, (__m256d)x); }
INLINE Vec<float> no_more(Vec<float> a, Vec<float> x) { return (Vec<float>)_mm256_min_ps((__m256)a, (__m256)x); }
INLINE Vec<double> no_more(Vec<double> a, Vec<double> x) { return (Vec<double>)_mm256_min_pd((__m256d)a, (__m256d)x); }
#else
template <class V> INLINE V at_least(V a, V x) { return x < a ? a : x; }
template <class V> INLINE V no_more(V a, V x) { return x > a ? a : x; }
#endif

template <class T> INLINE typename Of<T>::Int sign(Vec<T> x) { return (typename Of<T>::Int)x & (typename Of<T>::Int)splat((T)-0.0); }
template <class T> INLINE Vec<T> absolute(Vec<T> x) { return (Vec<T>)((typename Of<T>::Int)x ^ sign<T>(x)); }
// x, which is not negative, with the sign of another.
template <class T> INLINE Vec<T> signed_as(Vec<T> x, Vec<T> other) { return (Vec<T>)((typename Of<T>::Int)x | sign<T>(other)); }
template <class T> INLINE Vec<T> limited(Vec<T> x, T low, T high) { return no_more(splat(high), at_least(splat(low), x)); }

}  // namespace
