// Compiled once for each instruction set; SET is its name.
#include "backward.h"
#include "forward.h"
#include "masks.h"
#include "whole_backward.h"
#include "whole_forward.h"

#define NAME2(set) unilstm_direction_##set
#define NAME(set) NAME2(set)
#define MASK2(set) unilstm_mask_##set
#define MASK(set) MASK2(set)

template <class T> static bool run(const Job& job, bool backward, Team* team) {
  if (is_whole(job)) return backward ? WholeBackward<T>(job, team).run() : WholeForward<T>(job, team).run();
  return backward ? Backward<T>(job, team).run() : Forward<T>(job, team).run();
}

// False: there is no memory for it.
extern "C" __attribute__((visibility("hidden"))) bool NAME(SET)(const Job* job, bool backward, Team* team) {
  return job->number[kDouble] ? run<double>(*job, backward, team) : run<float>(*job, backward, team);
}

extern "C" __attribute__((visibility("hidden"))) void MASK(SET)(const MaskJob* job) {
  job->is_double ? mask<double>(*job, (double*)job->out) : mask<float>(*job, (float*)job->out);
}
