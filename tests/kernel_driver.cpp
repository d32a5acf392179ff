// Runs the kernel on jobs of every kind, each array exactly as large as it must be: for sanitizers, which see a read or
// write beside one, an overflow or a race (make sanitize). Prints a digest; one digest a build says that the bits agree.
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <algorithm>
#include <random>
#include <thread>
#include <vector>
#include "job.h"
#include "masks_job.h"

extern "C" int unilstm_run(Job*, int64_t, int);
extern "C" int unilstm_mask(const MaskJob*);
extern "C" int unilstm_use_set(const char*);
extern "C" void unilstm_forget(Packed*, int64_t);

extern "C" void unilstm_always_threads(int);

static thread_local uint64_t digest = 1469598103934665603u;
static bool threaded = false, paired = false;

template <class T> struct Arrays {
  Job job = {};
  std::vector<std::vector<T>> all;
  std::vector<int32_t> lengths;
  std::mt19937 random;

  explicit Arrays(unsigned seed) : random(seed) {}
  int64_t below(int64_t n) { return random() % n; }
  void add(Array which, int64_t count, bool there = true, T fill = 0) {
    if (!there) return;
    std::vector<T> one(count);
    for (T& v : one) v = fill != fill ? fill : (T)((double)random() / 2147483648.0 - 1.0);
    all.push_back(std::move(one));
    job.array[which] = all.back().data();
  }
};

// How large the arrays of a job are, beside what its numbers say.
struct Sizes { int64_t z, x_rows, peeps, state, again, kept, groups, units; };

// Draws the sizes of a job, and what is the same for all cells.
template <class T> static void draw_sizes(Arrays<T>& a) {
  int64_t* n = a.job.number;
  n[kSteps] = 1 + a.below(5), n[kRows] = 1 + a.below(14), n[kInputs] = 1 + a.below(40);
  n[kStrideB] = n[kInputs], n[kNumLanes] = n[kHeads] = 1, n[kDouble] = sizeof(T) == 8;
}

template <class T> static void draw_threads(Arrays<T>& a) {
  int64_t most = 2 + a.below(3);
  a.job.number[kThreads] = threaded ? most : 1;
}

// Draws what a job of the sLSTM or the minLSTM computes.
template <class T> static Sizes draw_other(Arrays<T>& a) {
  draw_sizes(a);
  int64_t* n = a.job.number;
  bool stabilized = a.below(3) > 0;
  n[kCell] = stabilized ? kStabilized : kMinimal, n[kHas] = stabilized ? 7 | a.below(2) * kExponentialForget : 3;
  if (stabilized) n[kHeads] = 1 + a.below(4);
  int64_t h = n[kHidden] = n[kState] = n[kHeads] * (1 + a.below(70 / n[kHeads]));
  n[kCellKind] = stabilized ? kTanh : a.below(11), n[kOutputKind] = kTanh;
  n[kReverse] = a.below(2), draw_threads(a);
  for (int k = 0; k < 6; k++) a.job.real[k] = 0.3;
  a.job.real[kZoneoutHidden] = a.below(2) * 0.1, a.job.real[kZoneoutCell] = a.below(2) * 0.3;
  Sizes s = {};
  s.units = h, s.groups = stabilized ? 4 : 3, s.z = s.x_rows = s.groups * h, s.state = stabilized ? 3 * h : h;
  s.kept = s.groups * ((h + 31) / 32 * 32);
  return s;
}

// Draws what a job of the LSTM computes: every second one has units that see one another within a step.
template <class T> static Sizes draw(Arrays<T>& a) {
  draw_sizes(a);
  int64_t* n = a.job.number;
  int64_t h = n[kHidden] = 1 + a.below(70);
  bool projected = h > 1 && a.below(2), whole = a.below(2);
  n[kState] = projected ? 1 + a.below(h - 1) : h, n[kHas] = a.below(64) | (projected ? kProjected : 0);
  if (whole && a.below(3) == 0) {
    n[kHas] |= kSeenAgain;
  } else if (whole) {
    int64_t blocks = 1 + a.below(h);
    if (h % blocks == 0) n[kBlocks] = blocks;
    n[kNumLanes] = 1 + a.below(3), n[kPooling] = n[kNumLanes] > 1 ? a.below(4) : 0;
    if (n[kPooling] == kArgmax) n[kHas] |= kOutputGate;
    if (n[kPooling] >= kAttention) n[kHas] = (n[kHas] | kInputGate | kForgetGate | kOutputGate) & ~kCoupled;
  }
  if (whole) n[kNorm] = a.below(4), a.job.real[kNormEps] = 1e-3;
  n[kGateKind] = a.below(11), n[kCellKind] = a.below(11), n[kOutputKind] = a.below(11);
  n[kReverse] = a.below(2), draw_threads(a);
  for (int k = 0; k < 6; k++) a.job.real[k] = 0.3;
  for (int k = 6; k < kNormEps; k++) a.job.real[k] = a.below(2) ? 0.4 : 0.0;
  if (whole) a.job.real[kZoneoutHidden] = a.below(2) * 0.1, a.job.real[kZoneoutCell] = a.below(2) * 0.3;

  int64_t has = n[kHas], lanes = n[kNumLanes];
  int64_t gates = !!(has & kInputGate) + ((has & kForgetGate) && !(has & kCoupled)) + !!(has & kOutputGate);
  bool highway = has & kHighway, joint = n[kNorm] == kJoint || n[kNorm] == kNormalizedState;
  Sizes s = {};
  s.units = lanes * h, s.groups = lanes * (gates + 1) + highway;
  s.z = lanes * (gates * (n[kBlocks] ? n[kBlocks] : h) + h) + (highway ? h : 0);
  s.x_rows = s.z + (highway ? h : 0) + (n[kPooling] >= kAttention ? s.units : 0);
  s.peeps = has & kPeephole ? gates * s.units : 0, s.again = has & kSeenAgain ? gates * h : 0, s.state = s.units + s.again;
  s.kept = s.x_rows;
  if (!n[kBlocks] && lanes == 1 && !n[kNorm]) s.kept = (gates + 1 + (highway ? 2 : 0)) * ((h + 31) / 32 * 32);  // see shape.h
  s.kept += (n[kNorm] ? (joint ? 2 * s.z + 2 : s.z + s.groups) + s.units + lanes : 0);
  return s;
}

// The parameters, or room for their gradients.
template <class T> static void parameters(Arrays<T>& a, const Sizes& s, bool gradients) {
  const int64_t *n = a.job.number, i = n[kInputs], h = n[kHidden], has = n[kHas];
  bool highway = has & kHighway, joint = n[kNorm] == kJoint || n[kNorm] == kNormalizedState;
  auto add = [&](Array value, Array gradient, int64_t count, bool there = true) { a.add(gradients ? gradient : value, count, there); };
  add(kWeightIh, kDWeightIh, s.z * i, !gradients || a.below(4)), add(kWeightHh, kDWeightHh, s.z * n[kState] / n[kHeads], n[kCell] != kMinimal);
  add(kBias, kDBias, s.z, gradients || a.below(2)), add(kWeightCh, kDWeightCh, s.peeps, s.peeps);
  if (!gradients) a.add(kBias2, s.z, a.job.array[kBias] && a.below(2));
  add(kWeightXh, kDWeightXh, h * i, highway), add(kBiasXh, kDBiasXh, h, highway && (gradients || a.below(2)));
  add(kWeightHr, kDWeightHr, n[kState] * h, has & kProjected);
  add(kGammaIh, kDGammaIh, s.z, joint), add(kGammaHh, kDGammaHh, s.z, joint), add(kGamma, kDGamma, s.z, n[kNorm] == kPerGate);
  add(kGammaC, kDGammaC, s.units, n[kNorm]), add(kBetaC, kDBetaC, s.units, n[kNorm] && (gradients || a.below(2)));
  add(kWeightGg, kDWeightGg, s.again * s.again, s.again);
  bool attention = n[kPooling] >= kAttention;
  add(kWeightXa, kDWeightXa, s.units * i, attention), add(kBiasXa, kDBiasXa, s.units, attention && (gradients || a.below(2)));
}

// A job and another like it, whose y lie side by side, and their gradients, too, all steps of a row together.
template <class T> struct Beside {
  Arrays<T>& a;
  int64_t t, b, s;
  std::vector<T> y, dy;
  Job jobs[2];
  explicit Beside(Arrays<T>& arrays) : a(arrays), t(a.job.number[kSteps]), b(a.job.number[kRows]), s(a.job.number[kState]) {
    y.resize(t * b * 2 * s), dy.resize(a.job.array[kDy] ? t * b * 2 * s : 0);
    copy(true);
    for (int k = 0; k < 2; k++) {
      jobs[k] = a.job;
      int64_t* n = jobs[k].number;
      n[kYFrom] = k * s, n[kYStrideT] = b * 2 * s, n[kYStrideB] = 2 * s, n[kDyStrideT] = 2 * s, n[kDyStrideB] = t * 2 * s;
      jobs[k].array[kY] = y.data();
      if (!dy.empty()) jobs[k].array[kDy] = dy.data();
    }
  }
  // There, into both; or back, where both must have the same.
  void copy(bool there) {
    T *own = (T*)a.job.array[kY], *own_dy = (T*)a.job.array[kDy];
    for (int64_t step = 0; step < t; step++)
      for (int64_t row = 0; row < b; row++)
        for (int k = 0; k < 2; k++) {
          int64_t from = (step * b + row) * s;
          T* one = &y[2 * from + k * s];
          if (!there && k && memcmp(own + from, one, s * sizeof(T))) printf("jobs at once differ in y\n");
          memcpy(there ? one : own + from, there ? own + from : one, s * sizeof(T));
          if (there && own_dy) memcpy(&dy[(row * t + step) * 2 * s + k * s], own_dy + from, s * sizeof(T));
        }
  }
};

// Runs it; paired, at once with another like it, whose results, from `from` on, must be the same.
template <class T> static void run(Arrays<T>& a, int backward, size_t from) {
  if (!paired) {
    if (unilstm_run(&a.job, 1, backward)) printf("no memory\n");
    return;
  }
  Beside<T> both(a);
  std::vector<std::vector<T>> others(a.all.begin() + from, a.all.end());
  for (size_t k = 0; k < others.size(); k++)
    for (void*& array : both.jobs[1].array)
      if (array == a.all[from + k].data()) array = others[k].data();
  if (unilstm_run(both.jobs, 2, backward)) printf("no memory\n");
  for (size_t k = 0; k < others.size(); k++)
    if (a.all[from + k].data() != a.job.array[kY] && memcmp(others[k].data(), a.all[from + k].data(), others[k].size() * sizeof(T)))
      printf("jobs at once differ\n");
  both.copy(false);
}

// The same results, which are from `from` on, by weights packed for several calls.
template <class T> static void again_packed(Arrays<T>& a, size_t from) {
  std::vector<std::vector<T>> results(a.all.begin() + from, a.all.end());
  Packed packed = {};
  a.job.array[kPacked] = &packed;
  for (int call = 0; call < 2; call++) {
    for (size_t k = from; k < a.all.size(); k++) std::fill(a.all[k].begin(), a.all[k].end(), (T)NAN);
    if (unilstm_run(&a.job, 1, 0)) printf("no memory\n");
    for (size_t k = from; k < a.all.size(); k++)
      if (memcmp(a.all[k].data(), results[k - from].data(), results[k - from].size() * sizeof(T))) printf("packed weights differ\n");
  }
  a.job.array[kPacked] = nullptr;
  unilstm_forget(&packed, 1);
}

// The n that an sLSTM starts from is a sum of exponentials: of every other row none yet.
template <class T> static void normalised(Job& job) {
  const int64_t h = job.number[kHidden];
  for (int64_t k = 0; k < job.number[kRows] * h; k++) {
    T& n = ((T*)job.array[kC0])[k / h * 3 * h + h + k % h];
    n = k / h % 2 ? 0 : 1 + n / 2;
  }
}

// Three layers one upon the other, each like a job: by one call what they are one by one.
template <class T> struct Layers {
  static constexpr int kCount = 3;
  Arrays<T>& a;
  Job jobs[kCount];
  std::vector<std::vector<T>> weights, results, between;  // between: the gradients of x of the upper layers, one by one

  // The layers above read what that below makes: their weights of x are as wide.
  explicit Layers(Arrays<T>& arrays) : a(arrays) {
    for (int n = 0; n < kCount; n++) {
      Job& job = jobs[n] = a.job;
      if (!n) continue;
      for (Array which : {kWeightIh, kWeightXh, kWeightXa})
        if (job.array[which]) {
          job.array[which] = add(weights, size(a, which) / job.number[kInputs] * job.number[kState], (T)0);
          for (T& v : weights.back()) v = (T)((double)a.random() / 4294967296.0 - 0.5);
        }
      job.number[kInputs] = job.number[kState];
    }
  }
  static T* add(std::vector<std::vector<T>>& to, size_t count, T fill) { return to.emplace_back(count, fill).data(); }
  static size_t size(const Arrays<T>& a, int which) {
    for (const std::vector<T>& one : a.all)
      if (one.data() == a.job.array[which]) return one.size();
    return 0;
  }
  void fresh() {
    results.clear(), results.reserve(kCount * kArrays), between.clear();
    const int64_t s = a.job.number[kState], i = a.job.number[kInputs];
    for (int n = 0; n < kCount; n++)
      for (int which = kY; which < kPacked; which++) {
        if (which > kRaw && which < kDx) continue;  // given
        bool of_x = which == kDWeightIh || which == kDWeightXh || which == kDWeightXa;
        size_t count = n && which == kDx ? 0 : n && of_x ? size(a, which) / i * s : size(a, which);
        jobs[n].array[which] = count ? add(results, count, (T)NAN) : nullptr;
      }
  }
  void run(bool at_once) {
    fresh();
    const int64_t all = a.job.number[kSteps] * a.job.number[kRows] * a.job.number[kState];
    for (int backward = 0; backward < 2; backward++)
      for (int k = 0; k < kCount; k++) {
        int n = backward ? kCount - 1 - k : k;
        jobs[n].number[kStacked] = at_once && n;
        if (at_once && k == kCount - 1 && unilstm_run(jobs, kCount, backward)) printf("no memory\n");
        if (at_once) continue;
        if (!backward && n) jobs[n].array[kX] = jobs[n - 1].array[kY], strides(jobs[n], kStrideT);
        if (backward && k) jobs[n].array[kDy] = jobs[n + 1].array[kDx], strides(jobs[n], kDyStrideT);
        if (backward && n) jobs[n].array[kDx] = add(between, all, (T)NAN);
        if (unilstm_run(&jobs[n], 1, backward)) printf("no memory\n");
      }
  }
  static void strides(Job& job, int which) { job.number[which] = job.number[kRows] * job.number[kState], job.number[which + 1] = job.number[kState]; }
  void check() {
    run(false);
    std::vector<std::vector<T>> want;
    want.swap(results);
    run(true);
    for (size_t k = 0; k < want.size(); k++)
      if (memcmp(want[k].data(), results[k].data(), want[k].size() * sizeof(T))) return (void)printf("layers at once differ\n");
  }
};

constexpr unsigned kLstms = 500, kOthers = 150;  // jobs of each

template <class T> static void one(unsigned seed) {
  Arrays<T> a(seed);
  a.all.reserve(kArrays);
  Sizes z = seed < kLstms ? draw(a) : draw_other(a);
  a.job.number[kSlots] = z.state / a.job.number[kHidden];
  if (seed % 16 == 0) a.job.number[kRows] += 120;  // beyond what is taken at once
  if (seed % 64 == 8) a.job.number[kRows] += 400;  // and beyond the steps back that are done at once
  int64_t *n = a.job.number, t = n[kSteps], b = n[kRows], i = n[kInputs], s = n[kState];
  n[kStrideT] = b * i, n[kYStrideT] = n[kDyStrideT] = b * s, n[kYStrideB] = n[kDyStrideB] = s;
  a.add(kX, t * b * i), a.add(kH0, b * s), a.add(kC0, b * z.state);
  if (n[kCell] == kStabilized) normalised<T>(a.job);
  parameters(a, z, false);
  n[kMaskKind] = n[kCell] == kLstm ? a.below(3) : kOnState;
  const int64_t masks[] = {b * s, z.groups * b * s, t * b * z.units};
  a.add(kMask, masks[n[kMaskKind]], n[kCell] != kMinimal && a.below(2));
  a.add(kKeepH, t * b * s, a.job.real[kZoneoutHidden] != 0 && a.below(2)), a.add(kKeepC, t * b * z.units, a.job.real[kZoneoutCell] != 0 && a.below(2));
  if (a.below(2)) {
    for (int64_t k = 0; k < b; k++) a.lengths.push_back((int32_t)a.below(t + 3) - 1);  // beyond both ends, too
    a.job.array[kLengths] = a.lengths.data();
  }
  size_t from = a.all.size();
  a.add(kY, t * b * s), a.add(kHn, b * s), a.add(kCn, b * z.state);
  run(a, 0, from);  // inference
  again_packed(a, from);
  a.add(kCells, t * b * z.state);
  size_t inner = a.all.size();  // what lies in it, and where, is the kernel's own affair
  a.add(kGates, t * b * z.kept, true, NAN), a.add(kRaw, t * b * s, (n[kHas] & kProjected) && a.job.real[kProjClip] != 0);
  run(a, 0, from);
  a.add(kDy, t * b * s, a.below(4)), a.add(kDhn, b * s, a.below(2)), a.add(kDcn, b * z.state, a.below(2)), a.add(kDcells, t * b * z.state, a.below(2));
  size_t gradients = a.all.size();
  a.add(kDx, t * b * i, a.below(4)), a.add(kDh0, b * s), a.add(kDc0, b * z.state);
  parameters(a, z, true);
  run(a, 1, gradients);
  for (size_t k = from; k < a.all.size(); k++)
    for (size_t e = 0; k != inner && e < a.all[k].size(); e++) {
      const T& v = a.all[k][e];
      if (!isfinite(v)) printf("not finite, seed %u\n", seed);
      const unsigned char* bytes = (const unsigned char*)&v;
      for (size_t j = 0; j < sizeof(T); j++) digest = (digest ^ bytes[j]) * 1099511628211u;
    }
  if (paired && seed % 4 == 1) Layers<T>(a).check();
}

static void mask(uint32_t count) {
  std::vector<float> narrow(count);
  std::vector<double> wide(count);
  MaskJob job = {count, {count, 7}, 5, 1u << 31, 2.0, 0, narrow.data()}, other = job;
  other.is_double = 1, other.out = wide.data();
  unilstm_mask(&job), unilstm_mask(&other);
  for (uint32_t k = 0; k < count; k++) digest = (digest ^ (narrow[k] != 0) ^ 2 * (wide[k] != 0)) * 1099511628211u;
}

static uint64_t all() {
  digest = 1469598103934665603u;
  for (unsigned seed = 0; seed < kLstms + kOthers; seed++) one<float>(seed), one<double>(seed);
  for (uint32_t count = 0; count < 70; count++) mask(count);
  return digest;
}

int main(int count, char** words) {
  uint64_t first = all(), beside = 0;
  for (int k = 1; k < count; k++) {
    if (unilstm_use_set(words[k])) continue;  // this processor cannot run it
    if (all() != first) return printf("%s differs\n", words[k]), 1;
  }
  threaded = true;
  for (int how = 1; how <= 3; how++) {  // that share each step, that have rows of their own, that have a job of their own
    unilstm_always_threads(how), paired = how == 3;
    std::thread other([&] { beside = all(); });
    uint64_t threads = all();
    other.join();
    if (threads != first || beside != first) return printf("threads differ\n"), 1;
  }
  printf("%016llx\n", (unsigned long long)first);
  return 0;
}
