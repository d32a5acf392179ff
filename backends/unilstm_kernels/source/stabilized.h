// A step of one row of the sLSTM (unilstm/cells/slstm.py), there and back. Its c is c, n and m one after the other.
#pragma once
#include "whole.h"

namespace {

// log σ(x)
template <class T> INLINE Vec<T> log_of_sigmoid(Vec<T> x) {
  Vec<T> zero{};
  return (x < zero ? x : zero) - log_of_one_more<T>(exponential<T>(-absolute<T>(x)));
}

// What a step makes of a vector of units.
template <class T> struct Stabilized {
  Vec<T> c, n, m, i, f, kept;  // kept: what the forget gate leaves of the m before
  Vec<T> of_input, of_kept;    // of m, which is one of both, or that of the input where the state is fresh: 1 or 0

  Stabilized(Vec<T> z_i, Vec<T> log_f, Vec<T> g, Vec<T> c_old, Vec<T> n_old, Vec<T> m_old) {
    const Vec<T> zero{}, one = splat((T)1);
    kept = log_f + m_old;
    of_input = n_old == zero ? one : (z_i > kept ? one : zero), of_kept = one - of_input;
    m = of_input == one ? z_i : kept;
    i = exponential<T>(z_i - m);
    f = n_old == zero ? zero : exponential<T>(kept - m);
    c = fma(f, c_old, i * g), n = fma(f, n_old, i);
  }
};

template <class T> struct StabilizedRow {
  const Whole<T>& w;
  int64_t t, b;
  const T* old;  // c before

  bool exponential_forget() const { return w.s.job.number[kHas] & kExponentialForget; }
  Stabilized<T> step(int64_t k, int64_t left, Vec<T> z_i, Vec<T> z_f, Vec<T> g) const {
    const int64_t h = w.s.hidden;
    Vec<T> c = load<T>(old + k, left), n = load<T>(old + h + k, left), m = load<T>(old + 2 * h + k, left);
    return {z_i, exponential_forget() ? z_f : log_of_sigmoid<T>(z_f), g, c, n, m};
  }

  // kept, or null: z of i and f, tanh of that of g, σ of that of o. cells may be `old`.
  void there(const T* z, T* kept, T* cells, T* made) const {
    const int64_t h = w.s.hidden;
    vectors<T>(h, [&](int64_t k, int64_t left) {
      const Vec<T> gates[4] = {load<T>(z + k, left), load<T>(z + h + k, left), hyperbolic_tangent<T>(load<T>(z + 2 * h + k, left)),
                               sigmoid<T>(load<T>(z + 3 * h + k, left))};
      for (int j = 0; j < 4 && kept; j++) store<T>(kept + j * h + k, gates[j], left);
      const Stabilized<T> now = step(k, left, gates[0], gates[1], gates[2]);
      store<T>(made + k, gates[3] * now.c / now.n, left);
      const Vec<T> made_c[3] = {now.c, now.n, now.m};
      for (int j = 0; j < 3; j++) store<T>(cells + j * h + k, w.taken_c(old + j * h + k, made_c[j], t, b, k, left), left);
    });
  }

  // d_made: of h. d_c: of c after; then of c before.
  void back(const T* kept, const T* d_made, T* d_c, T* dz, T* sums) const {
    const int64_t h = w.s.hidden;
    vectors<T>(h, [&](int64_t k, int64_t left) {
      const Vec<T> z_i = load<T>(kept + k, left), z_f = load<T>(kept + h + k, left), g = load<T>(kept + 2 * h + k, left);
      const Vec<T> o = load<T>(kept + 3 * h + k, left), dh = load<T>(d_made + k, left), one = splat((T)1);
      const Stabilized<T> now = step(k, left, z_i, z_f, g);
      Vec<T> d[3], stays[3];  // of c, n and m as the step made them, and what zoneout leaves to those before
      for (int j = 0; j < 3; j++) {
        const Vec<T> all = load<T>(d_c + j * h + k, left);
        d[j] = w.through_c(all, t, b, k, left), stays[j] = all - d[j];
      }
      const Vec<T> shown = now.c / now.n, of_c = dh * o / now.n;
      d[0] += of_c, d[1] -= of_c * shown;
      const Vec<T> of_i = fma(d[0], g, d[1]) * now.i, of_f = fma(d[0], load<T>(old + k, left), d[1] * load<T>(old + h + k, left)) * now.f;
      d[2] -= of_i + of_f;
      const Vec<T> of_kept = fma(now.of_kept, d[2], of_f), slope = exponential_forget() ? one : sigmoid<T>(-z_f);
      const Vec<T> of_z[4] = {fma(now.of_input, d[2], of_i), of_kept * slope, d[0] * now.i * (one - g * g), dh * shown * o * (one - o)};
      const Vec<T> of_old[3] = {d[0] * now.f, d[1] * now.f, of_kept};
      for (int j = 0; j < 4; j++) store<T>(dz + j * h + k, of_z[j], left), add_to<T>(sums + j * h + k, of_z[j], left);
      for (int j = 0; j < 3; j++) store<T>(d_c + j * h + k, stays[j] + of_old[j], left);
    });
  }
};

}  // namespace
