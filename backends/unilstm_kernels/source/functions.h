// exp and what is made of it, and the eleven activations with their slopes.
#pragma once
#include "job.h"
#include "vector.h"

namespace {

template <class T> struct Exp;
template <> struct Exp<float> {
  static constexpr float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  static constexpr int shift = 23, terms = 6;
  static constexpr int32_t one = 0x3f800000;
  static constexpr float low = -87.3f, high = 88.0f;  // beyond them 2^n would leave the normal numbers
};
template <> struct Exp<double> {
  static constexpr double magic = 6755399441055744.0;
  static constexpr int shift = 52, terms = 12;
  static constexpr int64_t one = 0x3ff0000000000000;
  static constexpr double low = -708.0, high = 709.0;
};

// 1/2!, 1/3!, … : enough of the series for |r| <= ln(2)/2, 6 for float and 12 for double.
constexpr double kFactorials[12] = {1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320,
    1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800.0};
constexpr double kLog2 = 0.693147180559945309417;
constexpr double kLog2Rest = 2.3190468138462996e-17;  // of kLog2 as a double

// Functions act on N vectors side by side: the operations of one wait for one another, and others fill the time.
#define SIDE_BY_SIDE _Pragma("GCC unroll 8") for (int j = 0; j < N; j++)

// exp(x) = scale * (1 + rest), |rest| < 0.42. x is held within the range of normal results.
template <class T, int N> INLINE void split(const Vec<T>* x, Vec<T>* scale, Vec<T>* rest) {
  using E = Exp<T>;
  typedef typename Of<T>::Int Int;
  constexpr T high = (T)kLog2, low = sizeof(T) == 4 ? (T)(kLog2 - (double)(float)kLog2) : (T)kLog2Rest;
  Vec<T> r[N], p[N];
  SIDE_BY_SIDE {
    Vec<T> held = limited<T>(x[j], E::low, E::high);
    Vec<T> shifted = fma(held, splat((T)1.44269504088896340736), splat(E::magic)), n = shifted - splat(E::magic);
    scale[j] = (Vec<T>)(((Int)shifted << E::shift) + E::one);
    r[j] = fma(n, splat(-low), fma(n, splat(-high), held));
    p[j] = splat((T)kFactorials[E::terms - 1]);
  }
#pragma GCC unroll 12
  for (int k = E::terms - 2; k >= 0; k--) SIDE_BY_SIDE p[j] = fma(p[j], r[j], splat((T)kFactorials[k]));
  SIDE_BY_SIDE rest[j] = fma(r[j] * r[j], p[j], r[j]);
}

// In place, as the two below.
template <class T, int N> INLINE void sigmoids(Vec<T>* x) {
  Vec<T> scale[N], rest[N], one = splat((T)1);
  SIDE_BY_SIDE x[j] = -x[j];
  split<T, N>(x, scale, rest);
  SIDE_BY_SIDE x[j] = one / (one + fma(scale[j], rest[j], scale[j]));
}
template <class T, int N> INLINE void hyperbolic_tangents(Vec<T>* x) {
  Vec<T> scale[N], rest[N], twice[N], one = splat((T)1), two = splat((T)2);
  SIDE_BY_SIDE twice[j] = absolute<T>(x[j]) * two;
  split<T, N>(twice, scale, rest);
  SIDE_BY_SIDE {
    Vec<T> e = fma(scale[j], rest[j], scale[j] - one);
    x[j] = signed_as<T>(e / (e + two), x[j]);
  }
}

template <class T> INLINE Vec<T> exponential(Vec<T> x) {
  Vec<T> scale, rest;
  split<T, 1>(&x, &scale, &rest);
  return fma(scale, rest, scale);
}
template <class T> INLINE Vec<T> exponential_less_one(Vec<T> x) {
  Vec<T> scale, rest;
  split<T, 1>(&x, &scale, &rest);
  return fma(scale, rest, scale - splat((T)1));
}
template <class T> INLINE Vec<T> sigmoid(Vec<T> x) {
  sigmoids<T, 1>(&x);
  return x;
}
template <class T> INLINE Vec<T> hyperbolic_tangent(Vec<T> x) {
  hyperbolic_tangents<T, 1>(&x);
  return x;
}
// log(1 + e), 0 <= e <= 1, as 2 artanh(e / (2 + e)), by its series: the argument is at most 1/3.
template <class T> INLINE Vec<T> log_of_one_more(Vec<T> e) {
  constexpr int terms = sizeof(T) == 4 ? 8 : 17;
  Vec<T> s = e / (e + splat((T)2)), square = s * s, sum = splat((T)1 / (T)(2 * terms - 1));
  for (int k = terms - 2; k >= 0; k--) sum = fma(sum, square, splat((T)1 / (T)(2 * k + 1)));
  return splat((T)2) * s * sum;
}

template <class T> struct Activation { int64_t kind; T a, b; };

template <class T> static __attribute__((noinline)) Vec<T> rare_value(const Activation<T>& f, Vec<T> x) {
  Vec<T> zero{}, one = splat((T)1), a = splat(f.a), b = splat(f.b);
  switch (f.kind) {
    case kRelu: return x < zero ? zero : x;
    case kAffine: return fma(a, x, b);
    case kLeakyRelu: return x >= zero ? x : a * x;
    case kThresholdedRelu: return x > a ? x : zero * x;
    case kScaledTanh: return a * hyperbolic_tangent<T>(b * x);
    case kHardSigmoid: return limited<T>(fma(a, x, b), 0, 1);
    case kElu: return x >= zero ? x : a * exponential_less_one<T>(x > zero ? zero : x);
    case kSoftsign: return x / (one + absolute<T>(x));
    default: return (x < zero ? zero : x) + log_of_one_more<T>(exponential<T>(-absolute<T>(x)));
  }
}

template <class T, int N> INLINE void values(const Activation<T>& f, Vec<T>* x) {
  if (f.kind == kSigmoid) sigmoids<T, N>(x);
  else if (f.kind == kTanh) hyperbolic_tangents<T, N>(x);
  else SIDE_BY_SIDE x[j] = rare_value<T>(f, x[j]);
}
template <class T> INLINE Vec<T> value(const Activation<T>& f, Vec<T> x) {
  values<T, 1>(f, &x);
  return x;
}

// The derivative at x. At a corner: that of the side on which x changes the value, as the frameworks' clamps have it.
template <class T> static __attribute__((noinline)) Vec<T> rare_slope(const Activation<T>& f, Vec<T> x) {
  Vec<T> zero{}, one = splat((T)1), a = splat(f.a), b = splat(f.b), t;
  switch (f.kind) {
    case kSigmoid: t = sigmoid<T>(x); return t * (one - t);
    case kTanh: t = hyperbolic_tangent<T>(x); return one - t * t;
    case kRelu: return x < zero ? zero : one;
    case kAffine: return a;
    case kLeakyRelu: return x >= zero ? one : a;
    case kThresholdedRelu: return x > a ? one : zero;
    case kScaledTanh: t = hyperbolic_tangent<T>(b * x); return a * b * (one - t * t);
    case kHardSigmoid: t = fma(a, x, b); return t < zero ? zero : (t > one ? zero : a);
    case kElu: return x >= zero ? one : a * exponential<T>(x > zero ? zero : x);
    case kSoftsign: t = one + absolute<T>(x); return one / (t * t);
    default: return sigmoid<T>(x);
  }
}

// Is the slope a function of the value alone? Then the value is what is kept for the way back, else x is.
INLINE bool slope_of_value(int64_t kind) { return kind == kSigmoid || kind == kTanh; }

}  // namespace
