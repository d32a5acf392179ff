// A call's team: the caller, who goes through the steps and hands out each step's items, and the helpers that have
// come.
#include "team.h"
#include <atomic>
#include <chrono>
#include <math.h>
#include <memory>
#include <new>
#include <sched.h>
#include <thread>
#include <unistd.h>
#include "helpers.h"
#include "job.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

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

// A member's items of a region: from (lower half) to end (upper half). Whoever has done its own takes from the others.
struct alignas(64) Share {
  std::atomic<uint64_t> items{0};
  int64_t ends = 0;  // backwards: its first item and its last, added up. Written and read as Team::work
  static bool some(uint64_t v) { return (uint32_t)v < v >> 32; }
};

constexpr int kMostMembers = 64;
// A helper stalls when others use its processor: the caller waits far longer for its item than it worked itself. After
// so many in a call the caller goes on alone.
constexpr int kMostStalls = 1;
typedef std::chrono::steady_clock Clock;

constexpr int64_t kNever = INT32_MAX;

struct Team {
  const int size;
  const int64_t least_rows;  // of a member that has its own; kNever: all share each step
  const std::thread::id caller = std::this_thread::get_id();
  const std::atomic<int64_t>* next = nullptr;  // pipelined: the steps done of the layer whose results this one reads
  std::atomic<int64_t>* own = nullptr;         // and of this one; null: it is none of them
  std::atomic<int> holders{1}, came{1};
  std::atomic<bool> over{false};
  int stalls = 0;
  // Written before the shares are, and read only by who took an item, while which the region cannot end.
  Work work = nullptr;
  const void* about = nullptr;
  bool backwards = false;
  alignas(64) std::atomic<int64_t> left{0};
  Share shares[kMostMembers];

  Team(int size, int64_t least_rows) : size(size), least_rows(least_rows) {}
};

// Wait a little: a waiting thread that spins for long takes the time of the one that it waits for.
struct Patience {
  int waited = 0;
  void wait() {
    if (++waited > 100) sched_yield();
#if defined(__x86_64__)
    else _mm_pause();
#elif defined(__aarch64__)
    else asm volatile("yield");
#endif
  }
};

int team_size(const Team* team) { return team->size; }
bool team_rows_apart(const Team* team, int64_t rows) { return team->size > 1 && rows >= team->least_rows * team->size; }

bool team_pipelined(const Team* team) { return team->own; }

void team_await(const Team* team, int64_t steps) {
  if (!team->next) return;
  Patience patience;
  while (team->next->load(std::memory_order_acquire) < steps) patience.wait();
}

void team_reached(const Team* team, int64_t steps) {
  if (team->own) team->own->store(steps, std::memory_order_release);
}

static std::atomic<int> always{0};
static std::atomic<int64_t> helped{0};

// For tests: take all threads also where they are not worth it, to share each step (1), with rows of their own (2), or
// with jobs of their own, where there are several (3); and how many items helpers have done so far.
extern "C" __attribute__((visibility("default"))) void unilstm_always_threads(int how) { always = how; }
extern "C" __attribute__((visibility("default"))) int64_t unilstm_helped() { return helped; }

static bool work_some(Team* team, int member) {
  int64_t done = 0;
  for (int k = 0; k < team->size; k++) {
    Share& share = team->shares[(member + k) % team->size];
    std::atomic<uint64_t>& items = share.items;
    while (Share::some(items.load(std::memory_order_relaxed))) {
      uint64_t taken = items.fetch_add(1, std::memory_order_acq_rel);
      if (!Share::some(taken)) break;
      int64_t item = (uint32_t)taken, ends = share.ends;
      team->work(team->about, team->backwards ? ends - item : item, member);
      done++;
    }
  }
  if (done && member) helped.fetch_add(done, std::memory_order_relaxed);
  if (done) team->left.fetch_sub(done, std::memory_order_release);
  return done;
}

void team_each(Team* team, int64_t items, bool backwards, Work work, const void* about) {
  int present = team->came.load(std::memory_order_relaxed);
  if (team->size == 1 || items <= 1 || team->stalls > kMostStalls) {
    for (int64_t item = 0; item < items; item++) work(about, backwards ? items - 1 - item : item, 0);
    return;
  }
  team->work = work, team->about = about, team->backwards = backwards;
  team->left.store(items, std::memory_order_relaxed);
  for (int m = 0; m < present; m++) {
    uint64_t from = items * m / present, to = items * (m + 1) / present;
    team->shares[m].ends = (int64_t)(from + to) - 1;
    team->shares[m].items.store(to << 32 | from, std::memory_order_release);
  }
  Clock::time_point start = Clock::now();
  work_some(team, 0);
  Clock::time_point own = Clock::now();
  Patience patience;
  while (team->left.load(std::memory_order_acquire)) patience.wait();
  if (patience.waited > 100 && Clock::now() - own > own - start + std::chrono::milliseconds(1)) team->stalls++;
}

static void release(Team* team, int holders = 1) {
  if (team->holders.fetch_sub(holders, std::memory_order_acq_rel) == holders) delete team;
}

void team_help(Team* team) {
  if (std::this_thread::get_id() != team->caller && !team->over.load(std::memory_order_acquire)) {
    int member = team->came.fetch_add(1, std::memory_order_relaxed);
    Ieee ieee;
    Patience patience;
    while (!team->over.load(std::memory_order_acquire)) {
      if (work_some(team, member)) patience = {};
      else patience.wait();
    }
  }
  release(team);
}

namespace {

// Steps done of a layer of a stack.
struct alignas(64) Steps { std::atomic<int64_t> done{0}; };

struct Call {
  Direction* run;
  const Job* jobs;
  int64_t count;  // more than one: a member does a whole one of them
  bool backward;
  Team* team;
  std::atomic<bool> fine{true};
  void go() {
    Ieee ieee;
    if (count == 1) fine = run(jobs, backward, team);
    else if (jobs[1].number[kStacked]) pipelined();
    else each(team, count, [this](int64_t k, int) {
      Team alone(1, kNever);
      if (!run(jobs + k, backward, &alone)) fine = false;
    });
    team->over.store(true, std::memory_order_release);
  }
  // The layers, taken in the order in which they need one another: who waits for another's steps, waits for one that
  // somebody has begun.
  void pipelined() {
    std::unique_ptr<Steps[]> steps(new (std::nothrow) Steps[count]);
    if (!steps) {
      fine = false;
      return;
    }
    std::atomic<int64_t> taken{0};
    each(team, team->size, [&](int64_t, int) {
      for (int64_t k; (k = taken.fetch_add(1)) < count;) {
        Team alone(1, kNever);
        alone.own = &steps[k].done, alone.next = k ? &steps[k - 1].done : nullptr;
        if (!run(jobs + (backward ? count - 1 - k : k), backward, &alone)) fine = false;
        team_reached(&alone, kNever);  // also where it failed: the next one waits
      }
    });
  }
};

}  // namespace

static void call_or_help(void* about) {
  Call* call = (Call*)about;
  if (std::this_thread::get_id() == call->team->caller) return call->go();
  call->team->holders.fetch_add(1, std::memory_order_relaxed);  // the caller holds it until this returns
  team_help(call->team);
}

// Does so much of what every step reads stay in the second-level cache that each member may read all of it? Measured: of
// 2 MB, 1 MB may be read; of 512 KB, 64 KB may, and already 147 KB cost more than waiting for one another does.
static bool stays_near(double bytes) {
#if defined(_SC_LEVEL2_CACHE_SIZE)
  static const long cache = sysconf(_SC_LEVEL2_CACHE_SIZE);
#else
  static const long cache = 0;  // not known
#endif
  return bytes <= (cache >= 1 << 20 ? cache * 0.625 : 64 << 10);
}

// Rows of a member that make a good product: of fewer, each reads too much. Weights so small that waiting costs more.
constexpr int64_t kGoodProduct = 3, kShortStep = 160 << 10;

struct Plan {
  int size;
  int64_t least_rows;  // as of Team
};

// Features of h that a unit reads.
static double read_of_h(const Job& job) {
  const int64_t* n = job.number;
  return n[kCell] == kMinimal ? 0 : (double)n[kState] / n[kHeads];
}

// Bytes of the weights of h, which every step reads.
static double bytes_of_step(const Job& job) {
  const int64_t* n = job.number;
  return 4.0 * n[kHidden] * n[kNumLanes] * read_of_h(job) * (n[kDouble] ? 8 : 4);
}

// Multiplications of a step, and of all that is done.
struct Size { double step, all; };
static Size size_of(const Job& job) {
  const int64_t* n = job.number;
  double unit = 4.0 * n[kRows] * n[kHidden] * n[kNumLanes], step = unit * read_of_h(job);
  return {step, n[kSteps] * (step + unit * n[kInputs])};
}

// How many threads are worth it, and for what. Where all share each step, it is a region or a few of them, and a region
// costs about a microsecond.
static Plan plan_of(const Job& job, int threads) {
  const int64_t* n = job.number;
  if (always) return {threads, always == 2 ? 0 : kNever};
  auto [step, all] = size_of(job);
  auto no_more = [&](double most) { return most < 1 ? 1 : most < threads ? (int)most : threads; };
  double bytes = bytes_of_step(job);
  int64_t least_rows = bytes > kShortStep ? kGoodProduct : 1;
  // A step of the minLSTM is nothing to share; what all steps have of x is, and with one row nobody waits in between.
  double worth = n[kCell] != kMinimal ? fmin(step / 50e3, all / 180e3) : n[kRows] == 1 ? all / 1e6 : 1;
  int sharing = no_more(worth), apart = no_more(fmin(n[kRows] / least_rows, all / 1e6));
  // Half as many that need not wait do as much: those that share a step are seldom all of use, and never all the time.
  bool worth_it = n[kSteps] > 2 && apart > 1 && 2 * apart >= sharing && stays_near(bytes);
  return worth_it ? Plan{apart, least_rows} : Plan{sharing, kNever};
}

// Is each of several jobs done by one thread, all at once? None waits for another then, but each reads all weights.
static bool at_once(const Job* jobs, int64_t count, int threads) {
  if (count == 1 || threads == 1 || jobs[1].number[kStacked]) return false;
  if (always) return always == 3;
  for (int64_t k = 0; k < count; k++)
    if (size_of(jobs[k]).all < 150e3 || !stays_near(bytes_of_step(jobs[k])) || plan_of(jobs[k], threads).size > count) return false;
  return true;
}

// Are the layers of a stack done each by one thread, one behind the other? None shares a step then.
static bool pipelined(const Job* jobs, int64_t count, int threads) {
  if (count == 1 || threads == 1 || !jobs[1].number[kStacked] || jobs->number[kSteps] == 1) return false;
  if (always) return always == 3;
  const int64_t rounds = (count + threads - 1) / threads;
  for (int64_t k = 0; k < count; k++) {
    if (size_of(jobs[k]).all < 150e3 || !stays_near(bytes_of_step(jobs[k]))) return false;
    auto [size, least_rows] = plan_of(jobs[k], threads);
    if (size * rounds > count) return false;
  }
  return true;
}

static bool run_team(Team* team, Direction* run, const Job* jobs, int64_t count, bool backward, const Source* source) {
  if (!team) return false;
  Call call{run, jobs, count, backward, team};
  int helpers = team->size - 1;
  int64_t openmp = jobs->number[kOpenMp];
  if (helpers && openmp && openmp_run(openmp, call_or_help, &call, team->size)) helpers = -1;
  if (helpers > 0 && source) {
    for (int k = 0; k < helpers; k++) {
      team->holders.fetch_add(1, std::memory_order_relaxed);
      if (!source->ask(source->context, [](void* team) { team_help((Team*)team); }, team)) release(team);
    }
  } else if (helpers > 0) {
    team->holders.fetch_add(helpers, std::memory_order_relaxed);
    release(team, helpers - pool_ask(team, helpers));
  }
  if (helpers >= 0) call.go();
  if (helpers > 0 && !source) release(team, pool_withdraw(team));
  release(team);
  return call.fine;
}

bool team_run(Direction* run, const Job* jobs, int64_t count, bool backward, const Source* source, int threads) {
  threads = threads < 1 ? 1 : threads > kMostMembers ? kMostMembers : threads;
  if (at_once(jobs, count, threads) || pipelined(jobs, count, threads))
    return run_team(new (std::nothrow) Team((int)(count < threads ? count : threads), kNever), run, jobs, count, backward, source);
  for (int64_t k = 0; k < count; k++) {
    const Job* job = jobs + (backward ? count - 1 - k : k);
    auto [size, least_rows] = plan_of(*job, threads);
    if (!run_team(new (std::nothrow) Team(size, least_rows), run, job, 1, backward, source)) return false;
  }
  return true;
}
