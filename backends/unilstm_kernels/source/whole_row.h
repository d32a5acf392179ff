// A step of one row, from the products of x and h to c and m.
#pragma once
#include "whole.h"

namespace {

template <class T> struct ForwardRow {
  typedef typename Whole<T>::Lane Lane;
  const Whole<T>& w;
  int64_t t, b;
  T *z, *z_h;                   // z_h: R h, where it is normalised alone
  const T *z_gates, *bias;      // z_gates: what the gates see of those of the step before
  T* kept;                      // or null
  const T* old;                 // c before, and after: they may be the same
  T *cells, *made, *scratch;    // made: m

  void run() const {
    const Shape<T>& s = w.s;
    normalized();
    if (w.seen_again) seen_again();
    T *shares = scratch + w.lanes * Whole<T>::kLaneArrays * w.padded(), *widest = shares + w.lanes * w.padded();
    if (w.attention) {
      T* a = z + w.attend_at;
      vectors<T>(w.lane_units, [&](int64_t k, int64_t left) { store<T>(a + k, sigmoid<T>(load<T>(a + k, left)), left); });
      w.attend(a, shares);
    }
    if (kept) memcpy(kept + w.width, z + w.width, (w.all_width - w.width) * sizeof(T));
    for (int64_t n = 0; n < w.lanes; n++) {
      Lane l = w.lane_at(scratch, n);
      l.old = old + n * s.hidden, l.share = w.attention ? shares + n * w.padded() : nullptr;
      lane(l, n, widest);
    }
    if (w.seen_again) remember(w.lane_at(scratch, 0));
    if (s.highway) carry(shares);
  }

  void normalized() const {
    const Shape<T>& s = w.s;
    if (w.joint) {
      T *to = kept ? kept + w.norm_h_at : z_h, scale = normalize<T>(z_h, w.width, w.eps, to);
      if (kept) kept[w.scales_at + 1] = scale;
      vectors<T>(w.width, [&](int64_t k, int64_t left) {
        store<T>(z + k, fma(load<T>(s.array(kGammaHh) + k, left), load<T>(to + k, left), load<T>(z + k, left)), left);
      });
    } else if (w.norm == kPerGate) {
      T* to = kept ? kept + w.norm_at : z;
      for (int64_t n = 0; n < w.groups; n++) {
        auto group = w.group(n);
        T scale = normalize<T>(z + group.at, group.size, w.eps, to + group.at);
        if (kept) kept[w.scales_at + n] = scale;
      }
      vectors<T>(w.width, [&](int64_t k, int64_t left) {
        store<T>(z + k, fma(load<T>(s.array(kGamma) + k, left), load<T>(to + k, left), load<T>(bias + k, left)), left);
      });
    }
  }

  void seen_again() const {
    int64_t hidden = w.s.hidden, n = 0;
    for (int k = 0; k < 4; k++) {
      if (k == 2 || w.gate_at[k] < 0) continue;
      T* to = z + w.gate_at[k];
      const T* more = z_gates + n++ * hidden;
      vectors<T>(hidden, [&](int64_t j, int64_t left) { store<T>(to + j, load<T>(to + j, left) + load<T>(more + j, left), left); });
    }
  }
  void remember(const Lane& l) const {
    int64_t hidden = w.s.hidden;
    T* to = cells + w.lane_units;
    for (int k = 0; k < 4; k++) {
      if (k == 2 || w.gate_at[k] < 0) continue;
      memcpy(to, k == 0 ? l.i : k == 1 ? l.f : l.o, hidden * sizeof(T)), to += hidden;
    }
  }

  // A gate of lane n, one a unit; `seen` by its peephole. An absent one is 1.
  void gate(int k, int64_t n, const T* seen, T* few, T* to) const {
    const Shape<T>& s = w.s;
    if (w.gate_at[k] < 0) return Whole<T>::fill(to, s.hidden, 1);
    int64_t at = n * w.lane_width + w.gate_at[k];
    const T* v = w.peep[k] >= 0 ? s.array(kWeightCh) + (n * w.peeps + w.peep[k]) * s.hidden : nullptr;
    bool of_blocks = w.shared(k);
    if (v && of_blocks)
      for (int64_t j = 0; j < w.blocks; j++) z[at + j] += sum_of<T>(v + j * w.unit, seen + j * w.unit, w.unit);
    T* values = of_blocks ? few : to;
    vectors<T>(w.size[k], [&](int64_t j, int64_t left) {
      Vec<T> one = load<T>(z + at + j, left);
      if (v && !of_blocks) one = fma(load<T>(v + j, left), load<T>(seen + j, left), one);
      Vec<T> a = value<T>(w.function(k), w.clipped(one));
      if (kept) store<T>(kept + at + j, s.keeps_value[k] ? a : one, left);
      store<T>(values + j, a, left);
    });
    if (of_blocks) w.spread(few, to);
  }

  void lane(Lane& l, int64_t n, T* widest) const {
    const Shape<T>& s = w.s;
    gate(2, n, l.old, l.few, l.g), gate(0, n, l.old, l.few, l.i);
    if (s.job.number[kHas] & kCoupled)
      vectors<T>(s.hidden, [&](int64_t k, int64_t left) { store<T>(l.f + k, splat((T)1) - load<T>(l.i + k, left), left); });
    else gate(1, n, l.old, l.few, l.f);
    if (const T* mask = w.candidate_mask(t, b)) {
      mask += n * s.hidden;
      vectors<T>(s.hidden, [&](int64_t k, int64_t left) { store<T>(l.g + k, load<T>(l.g + k, left) * load<T>(mask + k, left), left); });
    }
    vectors<T>(s.hidden, [&](int64_t k, int64_t left) {
      Vec<T> c = w.into_cell(l, k, left);
      store<T>(l.raw + k, s.cell_clip != 0 ? limited<T>(c, -s.cell_clip, s.cell_clip) : c, left);
    });
    if (w.norm) cell_norm(l, n);
    else l.seen = l.raw;
    const T* stored = w.norm == kJoint ? l.raw : l.seen;
    gate(3, n, stored, l.few, l.o);
    vectors<T>(s.hidden, [&](int64_t k, int64_t left) {
      Vec<T> o = load<T>(l.o + k, left), m = o * value<T>(s.output, load<T>(l.seen + k, left)), c = load<T>(stored + k, left);
      if (l.share) m = m * load<T>(l.share + k, left);
      pool(n, k, left, o, m, widest);
      store<T>(cells + n * s.hidden + k, w.taken_c(l.old + k, c, t, b, n * s.hidden + k, left), left);
    });
  }

  void cell_norm(const Lane& l, int64_t n) const {
    const Shape<T>& s = w.s;
    T *to = kept ? kept + w.norm_c_at + n * s.hidden : l.seen, scale = normalize<T>(l.raw, s.hidden, w.eps, to);
    if (kept) kept[w.kept_width - w.lanes + n] = scale;
    w.rescaled(to, n, l.seen);
  }

  void pool(int64_t n, int64_t k, int64_t left, Vec<T> o, Vec<T> m, T* widest) const {
    bool argmax = w.s.job.number[kPooling] == kArgmax;
    if (n) {
      Vec<T> before = load<T>(made + k, left);
      if (argmax) {
        Vec<T> most = load<T>(widest + k, left);
        m = o > most ? m : before, o = o > most ? o : most;
      } else {
        m = before + m;
      }
    }
    if (argmax) store<T>(widest + k, o, left);
    store<T>(made + k, m, left);
  }

  void carry(T* r) const {
    const Shape<T>& s = w.s;
    gate(4, 0, nullptr, nullptr, r);
    vectors<T>(s.hidden, [&](int64_t k, int64_t left) {
      Vec<T> open = load<T>(r + k, left), m = load<T>(made + k, left), u = load<T>(z + w.carry_at + k, left);
      store<T>(made + k, fma(open, m, (splat((T)1) - open) * u), left);
    });
  }
};

}  // namespace
