// A step of one row, backward: from the gradients of m and c to those of z and of c before.
#pragma once
#include "whole.h"

namespace {

template <class T> struct BackwardRow {
  typedef typename Whole<T>::Lane Lane;
  const Whole<T>& w;
  int64_t t, b;
  const T *kept, *old;     // old: c before
  T *d_made, *made;        // of m [H], changed; m, or null where nobody wants it
  T *d_c;                  // of c after, and of what lies behind it [C]; then of c before
  T *dz, *dz_h, *dz_gates; // of W x and what else x is multiplied by; of R h, and of what the gates see again, or null
  T *sums, *scratch;

  static int64_t scratch_size(const Whole<T>& w) {
    return (w.lanes * (Whole<T>::kLaneArrays + 3) + 4) * w.padded() + parts(w.width, kPartial) * kPartial;
  }
  T* shares(int64_t n) const { return after(w.lanes * Whole<T>::kLaneArrays + n); }
  T* d_lane(int64_t n) const { return after(w.lanes * (Whole<T>::kLaneArrays + 1) + n); }
  T* d_share(int64_t n) const { return after(w.lanes * (Whole<T>::kLaneArrays + 2) + n); }
  T* spare(int n) const { return after(w.lanes * (Whole<T>::kLaneArrays + 3) + n); }  // 0 to 3; and 4, which has room for z
  T* after(int64_t arrays) const { return scratch + arrays * w.padded(); }

  Lane lane(int64_t n) const {
    Lane l = w.lane_at(scratch, n);
    l.old = old + n * w.s.hidden, l.share = w.attention ? shares(n) : nullptr;
    if (!w.norm) l.seen = l.raw;
    return l;
  }

  void run() const {
    if (w.attention) w.attend(kept + w.attend_at, shares(0));
    for (int64_t n = 0; n < w.lanes; n++) recall(lane(n), n);
    if (made || w.s.highway) through_highway();
    distribute();
    for (int64_t n = 0; n < w.lanes; n++) back(lane(n), n);
    if (w.attention) attended();
    vectors<T>(w.all_width, [&](int64_t k, int64_t left) { add_to<T>(sums + k, load<T>(dz + k, left), left); });
    if (w.seen_again) seen_again();
    if (w.norm) unnormalized();
  }

  // What the step had of lane n.
  void recall(const Lane& l, int64_t n) const {
    const Shape<T>& s = w.s;
    T* of[4] = {l.i, l.f, l.g, l.o};
    for (int k = 0; k < 4; k++) {
      if (w.gate_at[k] < 0) {
        Whole<T>::fill(of[k], s.hidden, 1);
        continue;
      }
      const T* from = kept + n * w.lane_width + w.gate_at[k];
      T* to = w.shared(k) ? l.few : of[k];
      vectors<T>(w.size[k], [&](int64_t j, int64_t left) { store<T>(to + j, w.activation(k, load<T>(from + j, left)), left); });
      if (w.shared(k)) w.spread(l.few, of[k]);
    }
    const T* mask = w.candidate_mask(t, b);
    bool coupled = s.job.number[kHas] & kCoupled;
    vectors<T>(s.hidden, [&](int64_t k, int64_t left) {
      if (coupled) store<T>(l.f + k, splat((T)1) - load<T>(l.i + k, left), left);
      if (mask) store<T>(l.g + k, load<T>(l.g + k, left) * load<T>(mask + n * s.hidden + k, left), left);
      Vec<T> c = w.into_cell(l, k, left);
      store<T>(l.raw + k, s.cell_clip != 0 ? limited<T>(c, -s.cell_clip, s.cell_clip) : c, left);
    });
    if (w.norm) w.rescaled(kept + w.norm_c_at + n * s.hidden, n, l.seen);
    vectors<T>(s.hidden, [&](int64_t k, int64_t left) { store<T>(l.out + k, value<T>(s.output, load<T>(l.seen + k, left)), left); });
  }

  // m as the lanes made it, and what the highway let through; and the gradients of both.
  void through_highway() const {
    const Shape<T>& s = w.s;
    bool argmax = s.job.number[kPooling] == kArgmax;
    vectors<T>(s.hidden, [&](int64_t k, int64_t left) {
      Vec<T> m{}, most{}, one = splat((T)1);
      for (int64_t n = 0; n < w.lanes; n++) {
        Lane l = lane(n);
        Vec<T> o = load<T>(l.o + k, left), part = o * load<T>(l.out + k, left);
        if (l.share) part = part * load<T>(l.share + k, left);
        if (n == 0) m = part, most = o;
        else if (argmax) m = o > most ? part : m, most = o > most ? o : most;
        else m = m + part;
      }
      if (s.highway) {
        Vec<T> was = load<T>(kept + w.gate_at[4] + k, left), r = w.activation(4, was), u = load<T>(kept + w.carry_at + k, left);
        Vec<T> d = load<T>(d_made + k, left);
        store<T>(dz + w.gate_at[4] + k, d * (m - u) * w.slope(4, was), left), store<T>(dz + w.carry_at + k, d * (one - r), left);
        store<T>(d_made + k, d * r, left);
        m = fma(r, m, (one - r) * u);
      }
      if (made) store<T>(made + k, m, left);
    });
  }

  // What reaches the m of each lane: all of it, or, unit by unit, that of the lane that spoke.
  void distribute() const {
    bool argmax = w.s.job.number[kPooling] == kArgmax;
    vectors<T>(w.s.hidden, [&](int64_t k, int64_t left) {
      Vec<T> d = load<T>(d_made + k, left), most = load<T>(lane(0).o + k, left);
      for (int64_t n = 1; n < w.lanes && argmax; n++) {
        Vec<T> o = load<T>(lane(n).o + k, left);
        most = o > most ? o : most;
      }
      for (int64_t n = 0; n < w.lanes; n++) {
        Vec<T> o = load<T>(lane(n).o + k, left);
        store<T>(d_lane(n) + k, argmax ? (o == most ? d : Vec<T>{}) : d, left);
        if (argmax) d = o == most ? Vec<T>{} : d;
      }
    });
  }

  void back(const Lane& l, int64_t n) const {
    const Shape<T>& s = w.s;
    const T* stored = w.norm == kJoint ? l.raw : l.seen;
    T *d_o = spare(0), *d_seen = spare(1), *d_new = spare(2), *d_old = d_c + n * s.hidden;
    vectors<T>(s.hidden, [&](int64_t k, int64_t left) {
      Vec<T> dm = load<T>(d_lane(n) + k, left), o = load<T>(l.o + k, left), out = load<T>(l.out + k, left), one = splat((T)1);
      if (l.share) store<T>(d_share(n) + k, dm * o * out, left), dm = dm * load<T>(l.share + k, left);
      Vec<T> slope = s.output.kind == kTanh ? one - out * out : rare_slope<T>(s.output, load<T>(l.seen + k, left));
      store<T>(d_o + k, dm * out, left), store<T>(d_seen + k, dm * o * slope, left);
      Vec<T> all = load<T>(d_old + k, left), let = w.through_c(all, t, b, n * s.hidden + k, left);
      store<T>(d_new + k, let, left), store<T>(d_old + k, all - let, left);
    });
    gate(3, n, d_o, stored, d_new, l.few);
    of_seen(n, d_seen, d_new);
    T *d_i = spare(0), *d_f = spare(1), *d_g = spare(3);
    into_gates(l, n, d_new, d_i, d_f, d_g);
    gate(2, n, d_g, l.old, d_old, l.few), gate(0, n, d_i, l.old, d_old, l.few), gate(1, n, d_f, l.old, d_old, l.few);
  }

  // What reaches the c before the norm, from that of what ψ sees and of what is stored.
  void of_seen(int64_t n, T* d_seen, T* d_new) const {
    const Shape<T>& s = w.s;
    int64_t at = n * s.hidden;
    const T *gamma = s.array(kGammaC) + at, *normalized = kept + w.norm_c_at + at;
    vectors<T>(s.hidden, [&](int64_t k, int64_t left) {
      Vec<T> d = load<T>(d_seen + k, left);
      if (w.norm != kJoint) d += load<T>(d_new + k, left);
      if (!w.norm) return store<T>(d_new + k, d, left);
      add_to<T>(sums + w.sum_gamma_at + at + k, d * load<T>(normalized + k, left), left), add_to<T>(sums + w.sum_beta_at + at + k, d, left);
      store<T>(d_seen + k, d * load<T>(gamma + k, left), left);
    });
    if (!w.norm) return;
    unnormalize<T>(d_seen, normalized, kept[w.kept_width - w.lanes + n], s.hidden, d_seen);
    vectors<T>(s.hidden, [&](int64_t k, int64_t left) {
      Vec<T> d = load<T>(d_seen + k, left);
      store<T>(d_new + k, w.norm == kJoint ? load<T>(d_new + k, left) + d : d, left);
    });
  }

  // c = clip(f c' + i g), or with a share.
  void into_gates(const Lane& l, int64_t n, const T* d_new, T* d_i, T* d_f, T* d_g) const {
    const Shape<T>& s = w.s;
    bool coupled = s.job.number[kHas] & kCoupled;
    const T* mask = w.candidate_mask(t, b);
    vectors<T>(s.hidden, [&](int64_t k, int64_t left) {
      Vec<T> d = load<T>(d_new + k, left), i = load<T>(l.i + k, left), f = load<T>(l.f + k, left), g = load<T>(l.g + k, left);
      Vec<T> before = load<T>(l.old + k, left), of_old = f, one = splat((T)1);
      if (s.cell_clip != 0) d = passed<T>(w.into_cell(l, k, left), w.s.cell_clip, d);
      Vec<T> of_i = coupled ? d * (g - before) : d * g, of_f = d * before, of_g = d * i;
      if (l.share) {
        Vec<T> share = load<T>(l.share + k, left);
        add_to<T>(d_share(n) + k, d * (i * g - f * before), left);
        of_i = of_i * share, of_f = -(of_f * share), of_g = of_g * share, of_old = one - f * share;
      }
      if (mask) of_g = of_g * load<T>(mask + n * s.hidden + k, left);
      store<T>(d_i + k, of_i, left), store<T>(d_f + k, of_f, left), store<T>(d_g + k, of_g, left);
      add_to<T>(d_c + n * s.hidden + k, d * of_old, left);
    });
  }

  // From the gradient of a gate, unit by unit, to that of its z, and to what its peephole sees.
  void gate(int k, int64_t n, T* d, const T* seen, T* d_seen, T* few) const {
    const Shape<T>& s = w.s;
    if (w.gate_at[k] < 0) return;
    int64_t at = n * w.lane_width + w.gate_at[k];
    if (w.seen_again && k != 2) {
      const T* more = d_c + w.lane_units + seen_place(k) * s.hidden;
      vectors<T>(s.hidden, [&](int64_t j, int64_t left) { add_to<T>(d + j, load<T>(more + j, left), left); });
    }
    if (w.shared(k)) {
      for (int64_t j = 0; j < w.blocks; j++) few[j] = sum_of<T>(d + j * w.unit, w.unit);
      d = few;
    }
    vectors<T>(w.size[k], [&](int64_t j, int64_t left) {
      store<T>(dz + at + j, load<T>(d + j, left) * w.slope(k, load<T>(kept + at + j, left)), left);
    });
    if (w.peep[k] < 0) return;
    int64_t place = (n * w.peeps + w.peep[k]) * s.hidden;
    const T* v = s.array(kWeightCh) + place;
    T* to = sums + w.sum_peep_at + place;
    int64_t count = w.shared(k) ? w.blocks : 1, each = s.hidden / count;
    for (int64_t m = 0; m < count; m++)
      vectors<T>(each, [&](int64_t q, int64_t left) {
        int64_t j = m * each + q;
        Vec<T> one = w.shared(k) ? splat(dz[at + m]) : load<T>(dz + at + j, left);
        store<T>(to + j, fma(one, load<T>(seen + j, left), load<T>(to + j, left)), left);
        add_to<T>(d_seen + j, one * load<T>(v + j, left), left);
      });
  }

  int64_t seen_place(int k) const { return k == 0 ? 0 : (w.gate_at[0] >= 0) + (k == 3 && w.gate_at[1] >= 0); }
  void seen_again() const {
    for (int k = 0; k < 4; k++)
      if (k != 2 && w.gate_at[k] >= 0) memcpy(dz_gates + seen_place(k) * w.s.hidden, dz + w.gate_at[k], w.s.hidden * sizeof(T));
  }

  // From the gradients of the lanes' shares to those of what they attend by.
  void attended() const {
    bool largest = w.s.job.number[kPooling] == kAttentionMax;
    const T* a = kept + w.attend_at;
    vectors<T>(w.s.hidden, [&](int64_t k, int64_t left) {
      Vec<T> total{}, most{}, given{}, mean{}, one = splat((T)1);
      for (int64_t n = 0; n < w.lanes; n++) {
        Vec<T> e = exponential<T>(load<T>(a + n * w.s.hidden + k, left));
        store<T>(shares(n) + k, e, left), total += e, given += load<T>(d_share(n) + k, left), most = e > most ? e : most;
      }
      for (int64_t n = 0; n < w.lanes; n++) {
        Vec<T> e = load<T>(shares(n) + k, left), d = load<T>(d_share(n) + k, left);
        if (largest) d = e == most ? given : Vec<T>{}, given = e == most ? Vec<T>{} : given;
        Vec<T> share = e / total;
        store<T>(d_share(n) + k, d, left), store<T>(shares(n) + k, share, left), mean = fma(share, d, mean);
      }
      for (int64_t n = 0; n < w.lanes; n++) {
        Vec<T> one_a = load<T>(a + n * w.s.hidden + k, left), d = load<T>(d_share(n) + k, left) - mean;
        store<T>(dz + w.attend_at + n * w.s.hidden + k, load<T>(shares(n) + k, left) * d * one_a * (one - one_a), left);
      }
    });
  }

  // From the gradient of z to those of what was normalised.
  void unnormalized() const {
    if (w.joint) scaled(kGammaHh, w.norm_h_at, w.sum_norm_h_at), unnormalize<T>(spare(4), kept + w.norm_h_at, kept[w.scales_at + 1], w.width, dz_h);
    scaled(w.joint ? kGammaIh : kGamma, w.norm_at, w.sum_norm_at);
    for (int64_t n = 0; n < (w.joint ? 1 : w.groups); n++) {
      auto group = w.joint ? typename Whole<T>::Group{0, w.width} : w.group(n);
      unnormalize<T>(spare(4) + group.at, kept + w.norm_at + group.at, kept[w.scales_at + n], group.size, dz + group.at);
    }
  }
  void scaled(Array gamma, int64_t normalized, int64_t sum) const {
    vectors<T>(w.width, [&](int64_t k, int64_t left) {
      Vec<T> d = load<T>(dz + k, left);
      add_to<T>(sums + sum + k, d * load<T>(kept + normalized + k, left), left);
      store<T>(spare(4) + k, d * load<T>(w.s.array(gamma) + k, left), left);
    });
  }
};

}  // namespace
