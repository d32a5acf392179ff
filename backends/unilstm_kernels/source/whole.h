// For cells whose units see one another within a step (norms, memory blocks, gates that are seen again, lanes), for masks
// of every step, and for other cells than the LSTM: a step is a product for all rows, and then each row as a whole.
#pragma once
#include "shape.h"
#include "sums.h"

namespace {

// Does a job need it? Else forward.h and backward.h do it, whose gates are elementwise over units.
inline bool is_whole(const Job& job) {
  const int64_t* n = job.number;
  bool beyond = n[kBlocks] || n[kNumLanes] > 1 || n[kNorm] || (n[kHas] & kSeenAgain);
  bool masked = job.array[kMask] && n[kMaskKind] != kOnState;
  return n[kCell] != kLstm || beyond || masked || job.real[kZoneoutHidden] != 0 || job.real[kZoneoutCell] != 0;
}

// Where the parts of z, of the state and of what is kept lie.
template <class T> struct Whole {
  const Shape<T> s;
  int64_t lanes, blocks, unit, gate_rows, lane_width, lane_units, width, all_width;  // unit: units of a block; lane_units: N*H
  int64_t carry_at, attend_at;            // of x alone, behind z
  int64_t gate_at[5], size[5];            // of i f g o within a lane, -1 where there is none, and of r within z
  int64_t peep[5], peeps;                 // of i f g o among the peepholes of a lane, -1 where there is none
  int64_t seen_again, slots_width;        // gates that are; C
  int64_t cell, heads, depth;             // depth: features of h that a head reads
  int64_t norm_at, norm_h_at, norm_c_at, scales_at, kept_width;  // of what is kept, behind RX
  int64_t sum_norm_at, sum_norm_h_at, sum_gamma_at, sum_beta_at, sum_peep_at, sums_width;  // of sums over steps and rows
  int64_t groups, norm;
  bool joint, attention;  // joint: W x and R h are normalised apart
  T eps, new_h, new_c;                    // new_h, new_c: what zoneout lets through in evaluation

  explicit Whole(const Job& job) : s(job) {
    const int64_t* n = job.number;
    lanes = n[kNumLanes], blocks = n[kBlocks], norm = n[kNorm];
    joint = norm == kJoint || norm == kNormalizedState, attention = n[kPooling] >= kAttention;
    unit = blocks ? s.hidden / blocks : 1, gate_rows = blocks ? blocks : s.hidden, lane_units = lanes * s.hidden;
    lane_width = peeps = seen_again = groups = 0, peep[4] = -1;
    for (int k = 0; k < 4; k++) {
      size[k] = k == 2 ? s.hidden : gate_rows;
      gate_at[k] = s.place[k] >= 0 ? lane_width : -1;
      bool peeping = k != 2 && s.place[k] >= 0;
      peep[k] = peeping && (n[kHas] & kPeephole) ? peeps++ : -1;
      if (peeping && (n[kHas] & kSeenAgain)) seen_again++;
      if (s.place[k] >= 0) lane_width += size[k], groups++;
    }
    groups = groups * lanes + s.highway;
    gate_at[4] = s.highway ? lanes * lane_width : -1, size[4] = s.hidden;
    width = lanes * lane_width + (s.highway ? s.hidden : 0);
    carry_at = width, attend_at = width + (s.highway ? s.hidden : 0);
    all_width = attend_at + (attention ? lane_units : 0);
    cell = n[kCell], heads = n[kHeads], depth = s.state / heads;
    slots_width = n[kSlots] * s.hidden;
    norm_at = all_width, norm_h_at = norm_at + (norm ? width : 0), norm_c_at = norm_h_at + (joint ? width : 0);
    scales_at = norm_c_at + (norm ? lane_units : 0);
    kept_width = scales_at + (norm ? (joint ? 2 : groups) + lanes : 0);
    sum_norm_at = all_width, sum_norm_h_at = sum_norm_at + (norm ? width : 0), sum_gamma_at = sum_norm_h_at + (joint ? width : 0);
    sum_beta_at = sum_gamma_at + (norm ? lane_units : 0), sum_peep_at = sum_beta_at + (norm ? lane_units : 0);
    sums_width = sum_peep_at + lanes * peeps * s.hidden;
    eps = (T)job.real[kNormEps], new_h = (T)(1 - job.real[kZoneoutHidden]), new_c = (T)(1 - job.real[kZoneoutCell]);
  }

  bool shared(int k) const { return blocks && k != 2 && k != 4; }  // is the gate one number a block?

  // The row groups of z, lane by lane: where each starts, and its rows.
  struct Group { int64_t at, size; };
  Group group(int64_t n) const {
    int64_t each_lane = (groups - s.highway) / lanes, k = n % each_lane;
    if (n >= lanes * each_lane) return {gate_at[4], size[4]};
    for (int g = 0; g < 4; g++)
      if (gate_at[g] >= 0 && k-- == 0) return {n / each_lane * lane_width + gate_at[g], size[g]};
    return {0, 0};
  }

  // Sections of z, each of which reads one h: the features from `from` on, `depth` of them, as a mask of recurrent dropout
  // leaves them. head_sections: those of a head, which lie together; 0 where nothing reads h. packed: the first row of a
  // section among those of its head.
  struct Section { int64_t at, size, from, packed; };
  bool on_groups() const { return s.array(kMask) && s.job.number[kMaskKind] == kOnGroups; }
  int64_t head_sections() const { return cell == kMinimal ? 0 : heads > 1 ? width / s.hidden : on_groups() ? groups : 1; }
  int64_t sections() const { return heads * head_sections(); }
  Section section(int64_t n) const {
    if (heads > 1) {
      const int64_t head = n / head_sections(), g = n % head_sections(), size = s.hidden / heads;
      return {g * s.hidden + head * size, size, head * depth, g * size};
    }
    const Group all = on_groups() ? group(n) : Group{0, width};
    return {all.at, all.size, 0, all.at};
  }
  // Row k of those that a head's part of h is multiplied by.
  int64_t row_of_head(int64_t head, int64_t k) const {
    if (heads == 1) return k;
    const int64_t size = s.hidden / heads;
    return k / size * s.hidden + head * size + k % size;
  }
  // The masks on h, which of them section n reads by, and that of row b, or null.
  int64_t masks() const { return on_groups() ? groups : 1; }
  int64_t mask_of(int64_t n) const { return on_groups() ? n : 0; }
  const T* mask(int64_t n, int64_t b) const {
    if (!s.array(kMask) || s.job.number[kMaskKind] == kOnCandidate) return nullptr;
    return s.array(kMask) + (mask_of(n) * s.rows + b) * s.state;
  }
  const T* candidate_mask(int64_t t, int64_t b) const {
    bool there = s.array(kMask) && s.job.number[kMaskKind] == kOnCandidate;
    return there ? s.array(kMask) + s.at(t, b) * lane_units : nullptr;
  }

  // How much of what a step computed is let through.
  bool zoned_h() const { return s.job.real[kZoneoutHidden] != 0; }
  bool zoned_c() const { return s.job.real[kZoneoutCell] != 0; }
  Vec<T> let_h(int64_t t, int64_t b, int64_t k, int64_t left) const {
    return s.array(kKeepH) ? load<T>(s.array(kKeepH) + s.at(t, b) * s.state + k, left) : splat(new_h);
  }
  Vec<T> let_c(int64_t t, int64_t b, int64_t k, int64_t left) const {
    return s.array(kKeepC) ? load<T>(s.array(kKeepC) + s.at(t, b) * lane_units + k, left) : splat(new_c);
  }
  // What is taken whole is new to the last bit.
  Vec<T> held(Vec<T> old, Vec<T> now, Vec<T> taken) const { return fma(taken, now, (splat((T)1) - taken) * old); }
  // What is stored of c, from the old one, and what of its gradient reaches what the step computed. k: among the masks.
  Vec<T> taken_c(const T* old, Vec<T> now, int64_t t, int64_t b, int64_t k, int64_t left) const {
    return zoned_c() ? held(load<T>(old, left), now, let_c(t, b, k, left)) : now;
  }
  Vec<T> through_c(Vec<T> gradient, int64_t t, int64_t b, int64_t k, int64_t left) const {
    return zoned_c() ? gradient * let_c(t, b, k, left) : gradient;
  }

  // The row of weights that row k of what is computed from x belongs to.
  const T* of_x(int64_t k) const {
    if (k < width) return s.array(kWeightIh) + k * s.inputs;
    return k < attend_at ? s.array(kWeightXh) + (k - carry_at) * s.inputs : s.array(kWeightXa) + (k - attend_at) * s.inputs;
  }
  T bias(int64_t k) const {
    if (k >= attend_at) return s.array(kBiasXa) ? s.array(kBiasXa)[k - attend_at] : 0;
    if (k >= carry_at) return s.array(kBiasXh) ? s.array(kBiasXh)[k - carry_at] : 0;
    if (!s.array(kBias)) return 0;
    return s.array(kBias2) ? s.array(kBias)[k] + s.array(kBias2)[k] : s.array(kBias)[k];
  }

  // The parts that both ways need, of a lane of a row: gates unit by unit, c before and after its norm, and ψ of it.
  struct Lane { T *i, *f, *g, *o, *raw, *seen, *out, *few; const T *share, *old; };
  static constexpr int kLaneArrays = 8;
  int64_t padded() const { return parts(s.hidden, kPartial) * kPartial; }
  Lane lane_at(T* scratch, int64_t n) const {
    T* a = scratch + n * kLaneArrays * padded();
    int64_t p = padded();
    return {a, a + p, a + 2 * p, a + 3 * p, a + 4 * p, a + 5 * p, a + 6 * p, a + 7 * p, nullptr, nullptr};
  }

  Vec<T> clipped(Vec<T> z) const { return s.gate_clip != 0 ? limited<T>(z, -s.gate_clip, s.gate_clip) : z; }
  const Activation<T>& function(int k) const { return k == 2 ? s.cell : s.gate; }

  // A gate and its slope from what was kept of it.
  Vec<T> activation(int k, Vec<T> kept) const { return s.keeps_value[k] ? kept : value<T>(function(k), clipped(kept)); }
  Vec<T> slope(int k, Vec<T> kept) const {
    Vec<T> one = splat((T)1);
    if (s.keeps_value[k]) return function(k).kind == kSigmoid ? kept * (one - kept) : one - kept * kept;
    Vec<T> found = rare_slope<T>(function(k), clipped(kept));
    return s.gate_clip != 0 ? passed<T>(kept, s.gate_clip, found) : found;
  }

  // One number a block, as one a unit.
  void spread(const T* few, T* to) const {
    for (int64_t n = 0; n < blocks; n++)
      vectors<T>(unit, [&](int64_t k, int64_t left) { store<T>(to + n * unit + k, splat(few[n]), left); });
  }
  static void fill(T* to, int64_t count, T what) {
    vectors<T>(count, [&](int64_t k, int64_t left) { store<T>(to + k, splat(what), left); });
  }

  // c = f c' + i g, or with a lane's share of the attention.
  Vec<T> into_cell(const Lane& l, int64_t k, int64_t left) const {
    Vec<T> i = load<T>(l.i + k, left), f = load<T>(l.f + k, left), g = load<T>(l.g + k, left), old = load<T>(l.old + k, left);
    if (!l.share) return fma(f, old, i * g);
    Vec<T> share = load<T>(l.share + k, left);
    return fma(splat((T)1) - f * share, old, i * share * g);
  }

  // What ψ sees of lane n, from the normalised c.
  void rescaled(const T* normalized, int64_t n, T* to) const {
    const T *gamma = s.array(kGammaC) + n * s.hidden, *beta = s.array(kBetaC) ? s.array(kBetaC) + n * s.hidden : nullptr;
    vectors<T>(s.hidden, [&](int64_t k, int64_t left) {
      Vec<T> shift = beta ? load<T>(beta + k, left) : Vec<T>{};
      store<T>(to + k, fma(load<T>(gamma + k, left), load<T>(normalized + k, left), shift), left);
    });
  }

  // How much each lane takes part, unit by unit, from the sigmoid of what they attend by: shares [lanes][padded].
  void attend(const T* a, T* shares) const {
    int64_t p = padded();
    vectors<T>(s.hidden, [&](int64_t k, int64_t left) {
      Vec<T> total{}, largest{};
      for (int64_t n = 0; n < lanes; n++) {
        Vec<T> e = exponential<T>(load<T>(a + n * s.hidden + k, left));
        store<T>(shares + n * p + k, e, left), total += e;
      }
      for (int64_t n = 0; n < lanes; n++) {
        Vec<T> share = load<T>(shares + n * p + k, left) / total;
        store<T>(shares + n * p + k, share, left), largest = share > largest ? share : largest;
      }
      if (s.job.number[kPooling] == kAttentionMax)
        for (int64_t n = 0; n < lanes; n++) store<T>(shares + n * p + k, largest, left);
    });
  }
};

}  // namespace
