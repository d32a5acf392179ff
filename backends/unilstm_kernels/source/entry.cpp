// The C ABI: which instruction set runs a call.
#include <atomic>
#include <stdlib.h>
#include <string.h>
#include "job.h"
#include "helpers.h"
#include "masks_job.h"
#include "team.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

typedef void Mask(const MaskJob*);

namespace {

struct Set {
  const char* name;
  Direction* run;
  Mask* mask;
  bool there, fused;  // can this processor run it? Has it a fused multiply-add?
};

}  // namespace

#if defined(__x86_64__)
extern "C" Direction unilstm_direction_v2, unilstm_direction_v3, unilstm_direction_v4;
extern "C" Mask unilstm_mask_v2, unilstm_mask_v3, unilstm_mask_v4;
static Set* sets() {
  static Set all[] = {
    {"v4", unilstm_direction_v4, unilstm_mask_v4, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")
      && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("fma"), true},
    {"v3", unilstm_direction_v3, unilstm_mask_v3, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"), true},
    {"v2", unilstm_direction_v2, unilstm_mask_v2, bool(__builtin_cpu_supports("sse4.2")), false},
    {nullptr, nullptr, nullptr, false, false}};
  return all;
}
#else
extern "C" Direction unilstm_direction_neon;
extern "C" Mask unilstm_mask_neon;
static Set* sets() {
  static Set all[] = {{"neon", unilstm_direction_neon, unilstm_mask_neon, true, true}, {nullptr, nullptr, nullptr, false, false}};
  return all;
}
#endif

static Set* find(const char* name) {
  for (Set* one = sets(); one->name; one++)
    if (one->there && (!name || !strcmp(name, one->name))) return one;
  return nullptr;
}

static std::atomic<Set*> chosen{nullptr};

static Set* set() {
  Set* one = chosen.load();
  if (!one) chosen = one = find(nullptr);
  return one;
}

// The instruction set in use, "" where this processor can run none.
EXPORT const char* unilstm_set() { return set() ? set()->name : ""; }

// Use another one from now on. 0, or 1 where it is unknown or this processor cannot run it.
EXPORT int unilstm_use_set(const char* name) {
  Set* one = find(name);
  if (one) chosen = one;
  return one ? 0 : 1;
}

// 1 where the set in use has a fused multiply-add; without one a call gives the same bits slowly.
EXPORT int unilstm_fused() { return set() && set()->fused; }

// How Job is laid out, for the other side of the ABI to check itself against.
EXPORT int64_t unilstm_layout() { return kNumbers * 10000 + kReals * 100 + kArrays; }

// From which sources this was built; build.py looks for it in the file.
EXPORT const char* unilstm_source() { return DIGEST; }

int run_with(const Source* source, int threads, const Job* job, bool backward) {
  if (!set()) return 2;
  return team_run(set()->run, job, backward, source, threads) ? 0 : 1;
}

// A mask of dropout. 0; 2 where no instruction set fits.
EXPORT int unilstm_mask(const MaskJob* job) {
  if (!set()) return 2;
  set()->mask(job);
  return 0;
}

// One direction of one layer. 0; 1 without memory; 2 where no instruction set fits.
EXPORT int unilstm_run(const Job* job, int backward) { return run_with(nullptr, (int)job->number[kThreads], job, backward); }
