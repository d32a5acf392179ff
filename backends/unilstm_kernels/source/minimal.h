// A step of one row of the minLSTM (unilstm/cells/minlstm.py), there and back: c = f / (f + i) c' + i / (f + i) g, h = c.
#pragma once
#include "whole.h"

namespace {

template <class T> struct MinimalRow {
  const Whole<T>& w;
  int64_t t, b;
  const T* old;  // c before

  // kept, or null: what the way back needs of i, f and g. cells may be `old`.
  void there(const T* z, T* kept, T* cells, T* made) const {
    const int64_t h = w.s.hidden;
    vectors<T>(h, [&](int64_t k, int64_t left) {
      const Vec<T> z_g = load<T>(z + 2 * h + k, left), before = load<T>(old + k, left);
      const Vec<T> i = sigmoid<T>(load<T>(z + k, left)), f = sigmoid<T>(load<T>(z + h + k, left)), g = value<T>(w.s.cell, z_g), all = f + i;
      if (kept) store<T>(kept + k, i, left), store<T>(kept + h + k, f, left), store<T>(kept + 2 * h + k, w.s.keeps_value[2] ? g : z_g, left);
      const Vec<T> c = fma(f / all, before, i / all * g);
      store<T>(made + k, c, left);
      store<T>(cells + k, w.taken_c(old + k, c, t, b, k, left), left);
    });
  }

  // d_made: of h. d_c: of c after; then of c before.
  void back(const T* kept, const T* d_made, T* d_c, T* dz, T* sums) const {
    const int64_t h = w.s.hidden;
    vectors<T>(h, [&](int64_t k, int64_t left) {
      const Vec<T> i = load<T>(kept + k, left), f = load<T>(kept + h + k, left), was = load<T>(kept + 2 * h + k, left), one = splat((T)1);
      const Vec<T> d_all = load<T>(d_c + k, left), let = w.through_c(d_all, t, b, k, left);
      const Vec<T> d = let + load<T>(d_made + k, left), g = w.activation(2, was), all = f + i, keep = f / all, take = i / all;
      // Both shares depend on both gates, in opposite ways.
      const Vec<T> more = d * (g - load<T>(old + k, left));
      const Vec<T> of_z[3] = {more * (keep / all) * i * (one - i), -more * (take / all) * f * (one - f), d * take * w.slope(2, was)};
      for (int j = 0; j < 3; j++) store<T>(dz + j * h + k, of_z[j], left), add_to<T>(sums + j * h + k, of_z[j], left);
      store<T>(d_c + k, fma(d, keep, d_all - let), left);
    });
  }
};

}  // namespace
