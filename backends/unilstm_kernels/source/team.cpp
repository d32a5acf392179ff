// The threads of a call.
#include "team.h"
#include "job.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

struct Team {
  int size;
};

// The floating-point state that the numbers are defined in: to nearest, with subnormal numbers. Frameworks change it on
// their threads (XLA flushes subnormals), which would make the bits depend on who calls.
struct Ieee {
#if defined(__x86_64__)
  unsigned before = _mm_getcsr();
  Ieee() { _mm_setcsr(0x1f80); }
  ~Ieee() { _mm_setcsr(before); }
#elif defined(__aarch64__)
  uint64_t before;
  Ieee() {
    asm volatile("mrs %0, fpcr" : "=r"(before));
    asm volatile("msr fpcr, %0" : : "r"((uint64_t)0));
  }
  ~Ieee() { asm volatile("msr fpcr, %0" : : "r"(before)); }
#endif
};

int team_size(const Team* team) { return team->size; }

void team_each(Team*, int64_t items, Work work, const void* about) {
  for (int64_t item = 0; item < items; item++) work(about, item, 0);
}

typedef bool Direction(const Job*, bool, Team*);
bool team_run(Direction* run, const Job* job, bool backward) {
  Ieee ieee;
  Team team{1};
  return run(job, backward, &team);
}
