// Runs the kernel on jobs of every kind, each array exactly as large as it must be: for sanitizers, which see a read or
// write beside one, an overflow or a race (make sanitize). Prints a digest; one digest a build says that the bits agree.
#include <math.h>
#include <stdio.h>
#include <random>
#include <thread>
#include <vector>
#include "job.h"

extern "C" int unilstm_run(const Job*, int);
extern "C" int unilstm_use_set(const char*);

extern "C" void unilstm_always_threads(int);

static thread_local uint64_t digest = 1469598103934665603u;
static bool threaded = false;

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

template <class T> static void one(unsigned seed) {
  Arrays<T> a(seed);
  a.all.reserve(kArrays);
  int64_t* n = a.job.number;
  int64_t t = n[kSteps] = 1 + a.below(5), b = n[kRows] = 1 + a.below(14), i = n[kInputs] = 1 + a.below(40), h = n[kHidden] = 1 + a.below(70);
  bool projected = h > 1 && a.below(2);
  int64_t s = n[kState] = projected ? 1 + a.below(h - 1) : h, has = n[kHas] = a.below(64) | (projected ? kProjected : 0);
  n[kGateKind] = a.below(11), n[kCellKind] = a.below(11), n[kOutputKind] = a.below(11);
  n[kReverse] = a.below(2), n[kStrideT] = b * i, n[kStrideB] = i, n[kDouble] = sizeof(T) == 8, n[kThreads] = 2 + a.below(3);
  if (!threaded) n[kThreads] = 1;
  for (int k = 0; k < 6; k++) a.job.real[k] = 0.3;
  for (int k = 6; k < kReals; k++) a.job.real[k] = a.below(2) ? 0.4 : 0.0;
  bool coupled = has & kCoupled, highway = has & kHighway;
  int64_t peeps = !!(has & kInputGate) + ((has & kForgetGate) && !coupled) + !!(has & kOutputGate), g = 1 + peeps + highway;
  a.add(kX, t * b * i), a.add(kH0, b * s), a.add(kC0, b * h), a.add(kWeightIh, g * h * i), a.add(kWeightHh, g * h * s);
  a.add(kBias, g * h, a.below(2)), a.add(kBias2, g * h, a.job.array[kBias] && a.below(2)), a.add(kWeightCh, peeps * h, has & kPeephole);
  a.add(kWeightXh, h * i, highway), a.add(kBiasXh, h, highway && a.below(2)), a.add(kWeightHr, s * h, projected);
  a.add(kMask, b * s, a.below(2));
  if (a.below(2)) {
    for (int64_t k = 0; k < b; k++) a.lengths.push_back((int32_t)a.below(t + 3) - 1);  // beyond both ends, too
    a.job.array[kLengths] = a.lengths.data();
  }
  a.add(kY, t * b * s), a.add(kHn, b * s), a.add(kCn, b * h);
  if (unilstm_run(&a.job, 0)) printf("no memory\n");  // inference
  a.add(kCells, t * b * h), a.add(kGates, t * b * (g + highway) * h), a.add(kRaw, t * b * s, projected && a.job.real[kProjClip] != 0);
  if (unilstm_run(&a.job, 0)) printf("no memory\n");
  a.add(kDy, t * b * s, a.below(4)), a.add(kDhn, b * s, a.below(2)), a.add(kDcn, b * h, a.below(2)), a.add(kDcells, t * b * h, a.below(2));
  size_t from = a.all.size();
  a.add(kDx, t * b * i, a.below(4)), a.add(kDh0, b * s), a.add(kDc0, b * h), a.add(kDWeightIh, g * h * i, a.below(4)), a.add(kDWeightHh, g * h * s);
  a.add(kDBias, g * h), a.add(kDWeightCh, peeps * h, has & kPeephole), a.add(kDWeightXh, h * i, highway), a.add(kDBiasXh, h, highway), a.add(kDWeightHr, s * h, projected);
  if (unilstm_run(&a.job, 1)) printf("no memory\n");
  for (size_t k = from; k < a.all.size(); k++)
    for (const T& v : a.all[k]) {
      if (!isfinite(v)) printf("not finite, seed %u\n", seed);
      const unsigned char* bytes = (const unsigned char*)&v;
      for (size_t j = 0; j < sizeof(T); j++) digest = (digest ^ bytes[j]) * 1099511628211u;
    }
}

static uint64_t all() {
  digest = 1469598103934665603u;
  for (unsigned seed = 0; seed < 300; seed++) one<float>(seed), one<double>(seed);
  return digest;
}

int main(int count, char** words) {
  uint64_t first = all(), beside = 0;
  for (int k = 1; k < count; k++) {
    if (unilstm_use_set(words[k])) continue;  // this processor cannot run it
    if (all() != first) return printf("%s differs\n", words[k]), 1;
  }
  unilstm_always_threads(1);
  threaded = true;
  std::thread other([&] { beside = all(); });
  uint64_t threads = all();
  other.join();
  if (threads != first || beside != first) return printf("threads differ\n"), 1;
  printf("%016llx\n", (unsigned long long)first);
  return 0;
}
