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
EXPORT int64_t unilstm_layout() { return ((kKeptVersion * 100 + kNumbers) * 100 + kReals) * 100 + kArrays; }

// From which sources this was built; build.py looks for it in the file.
EXPORT const char* unilstm_source() { return DIGEST; }

// The layer above reads what the one below makes; and on the way back the other way round, by way of d_x.
static void join(const Job& below, Job& above) {
  above.array[kX] = below.array[kY];
  above.number[kStrideT] = below.number[kYStrideT], above.number[kStrideB] = below.number[kYStrideB];
}
static void join_back(Job& below, Job& above, void* d_x) {
  above.array[kDx] = below.array[kDy] = d_x;
  below.number[kDyStrideB] = above.number[kInputs], below.number[kDyStrideT] = above.number[kRows] * above.number[kInputs];
}

static bool wants_gradients(const Job& job) {
  for (int which = kDx; which < kPacked; which++)
    if (job.array[which]) return true;
  return false;
}

static int64_t bytes_of_dx(const Job& job) {
  const int64_t* n = job.number;
  return n[kSteps] * n[kRows] * n[kInputs] * (n[kDouble] ? 8 : 4);
}

int run_with(const Source* source, int threads, Job* jobs, int64_t count, bool backward) {
  if (!set()) return 2;
  if (jobs->number[kSteps] < 1 || jobs->number[kRows] < 1) return 3;
  const bool stacked = count > 1 && jobs[1].number[kStacked];
  for (int64_t k = 1; stacked && k < count; k++) join(jobs[k - 1], jobs[k]);
  // The way back ends at the last layer that it is wanted of.
  for (; stacked && backward && count > 1 && !wants_gradients(*jobs); jobs++, count--) jobs[1].number[kStacked] = false;
  void* between = nullptr;  // the gradients of x of all layers but the first
  if (stacked && backward && count > 1) {
    const int64_t bytes = (bytes_of_dx(jobs[1]) + 63) / 64 * 64;
    if (posix_memalign(&between, 64, bytes * (count - 1))) return 1;
    for (int64_t k = 1; k < count; k++) join_back(jobs[k - 1], jobs[k], (char*)between + (k - 1) * bytes);
  }
  const bool fine = team_run(set()->run, jobs, count, backward, source, threads);
  free(between);
  return fine ? 0 : 1;
}

// A mask of dropout. 0; 2 where no instruction set fits.
EXPORT int unilstm_mask(const MaskJob* job) {
  if (!set()) return 2;
  set()->mask(job);
  return 0;
}

// So many jobs, both directions of a layer, or the layers of a stack, which become joined. 0; 1 without memory; 2 where no
// instruction set fits; 3 where there is no step or no row. The first one says how many threads there are and whose.
EXPORT int unilstm_run(Job* jobs, int64_t count, int backward) {
  return run_with(nullptr, (int)jobs->number[kThreads], jobs, count, backward);
}

// One step through every layer of a stack. layers: a job each, with all that does not depend on the call. about: the
// number of layers, the features of h and of c, and of each layer how many parameters it has and where in the job each
// goes. call: rows, double, threads; where x [B,I], h_0 [L,B,S], c_0 [L,B,C], y [B,S], h_n and c_n are, which may be
// h_0 and c_0; where the layers' Packed are, or 0; kOpenMp; and each parameter. As unilstm_run.
EXPORT int unilstm_step(const Job* layers, const int64_t* about, const int64_t* call) {
  int64_t size = call[1] ? 8 : 4, h_bytes = call[0] * about[1] * size, c_bytes = call[0] * about[2] * size;
  const int64_t *place = about + 3, *parameter = call + 11;
  const char* x = (const char*)call[3];
  for (int64_t n = 0; n < about[0]; n++) {
    Job job = layers[n];
    job.number[kRows] = call[0], job.number[kStrideT] = call[0] * job.number[kInputs];
    job.number[kDouble] = call[1], job.number[kThreads] = call[2], job.number[kOpenMp] = call[10];
    const Array states[] = {kH0, kC0, kHn, kCn};
    const int64_t from[] = {call[4], call[5], call[7], call[8]}, apart[] = {h_bytes, c_bytes, h_bytes, c_bytes};
    for (int k = 0; k < 4; k++) job.array[states[k]] = (char*)from[k] + n * apart[k];
    job.array[kX] = (void*)x, job.array[kY] = (void*)call[6];
    if (call[9]) job.array[kPacked] = (Packed*)call[9] + n;
    for (int64_t left = *place++; left; left--) job.array[*place++] = (void*)*parameter++;
    if (int problem = unilstm_run(&job, 1, false)) return problem;
    x = (const char*)job.array[kHn];  // y is written anew
  }
  return 0;
}

// Give back the memory of so many Packed.
EXPORT void unilstm_forget(Packed* packed, int64_t count) {
  for (int64_t n = 0; n < count; n++) free(packed[n].memory), packed[n] = {};
}
