// Sums over the features of a row, and what they make: norms. A sum has kPartial parts, whatever the instruction set:
// feature k goes to part k % kPartial, and the parts are added up in one order.
#pragma once
#include "product.h"

namespace {

constexpr int kPartial = 16;

INLINE float root(float x) { return sqrtf(x); }
INLINE double root(double x) { return sqrt(x); }

// f(k, left) for every vector of n features; left: how many of them are there.
template <class T, class F> INLINE void vectors(int64_t n, const F& f) {
  constexpr int64_t L = kLanes<T>;
  int64_t k = 0;
  for (; k + L <= n; k += L) f(k, L);
  if (k < n) f(k, n - k);
}

template <class T> INLINE void add_to(T* to, Vec<T> more, int64_t left) { store<T>(to, load<T>(to, left) + more, left); }

// The sum of n features; f(k, left) gives those from k on, and 0 in the place of those that are not there.
template <class T, class F> INLINE T sum(int64_t n, const F& f) {
  constexpr int L = kLanes<T>, N = kPartial / L;
  Vec<T> part[N] = {};
  for (int64_t k = 0; k < n; k += kPartial)
#pragma GCC unroll 8
    for (int j = 0; j < N; j++) part[j] += f(k + j * L, n - k - j * L);
  T one[kPartial];
  for (int j = 0; j < N; j++) store<T>(one + j * L, part[j]);
  for (int half = kPartial / 2; half; half /= 2)
    for (int j = 0; j < half; j++) one[j] += one[j + half];
  return one[0];
}

template <class T> static T sum_of(const T* v, int64_t n) {
  return sum<T>(n, [&](int64_t k, int64_t left) { return load<T>(v + k, left); });
}
template <class T> static T sum_of(const T* v, const T* w, int64_t n) {
  return sum<T>(n, [&](int64_t k, int64_t left) { return load<T>(v + k, left) * load<T>(w + k, left); });
}

// (v - mean) / √(variance + eps), where v is or elsewhere. Returns 1 / √(variance + eps).
template <class T> static T normalize(const T* v, int64_t n, T eps, T* to) {
  Vec<T> mean = splat(sum_of<T>(v, n) / (T)n);
  vectors<T>(n, [&](int64_t k, int64_t left) { store<T>(to + k, load<T>(v + k, left) - mean, left); });
  T scale = 1 / root(sum_of<T>(to, to, n) / (T)n + eps);
  vectors<T>(n, [&](int64_t k, int64_t left) { store<T>(to + k, load<T>(to + k, left) * splat(scale), left); });
  return scale;
}

// The gradient of v from that of the normalised, where it is or elsewhere.
template <class T> static void unnormalize(const T* gradient, const T* normalized, T scale, int64_t n, T* to) {
  Vec<T> mean = splat(sum_of<T>(gradient, n) / (T)n), along = splat(sum_of<T>(gradient, normalized, n) / (T)n);
  vectors<T>(n, [&](int64_t k, int64_t left) {
    Vec<T> one = load<T>(gradient + k, left) - mean - load<T>(normalized + k, left) * along;
    store<T>(to + k, one * splat(scale), left);
  });
}

}  // namespace
