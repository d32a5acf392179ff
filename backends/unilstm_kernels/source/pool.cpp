// Threads of the library's own, made when they are first needed; and the way to those of OpenMP, where a framework has
// brought a runtime of it. None is ever joined: a process ends without waiting for them, and after a fork the child
// starts with none, the parent's being gone.
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>
#include <vector>
#include "helpers.h"

namespace {

// A thread that sleeps. The system likes to wake it on the processor of who wakes it, who has no mind to leave that: for
// many calls the helper would wait there, beside an idle processor.
struct Sleeper {
  pthread_t thread = pthread_self();
  bool steered = false;
#if defined(__linux__)
  cpu_set_t before;  // the processors that it may use; kept while it may not use the waker's
  void steer() {
    int here = sched_getcpu();
    if (here < 0 || here >= CPU_SETSIZE || (!steered && pthread_getaffinity_np(thread, sizeof before, &before))) return;
    cpu_set_t others = before;
    CPU_CLR(here, &others);
    if (CPU_COUNT(&others) && !pthread_setaffinity_np(thread, sizeof others, &others)) steered = true;
  }
  void awake() {
    if (steered) pthread_setaffinity_np(thread, sizeof before, &before);
    steered = false;
  }
#else
  void steer() {}
  void awake() {}
#endif
};

constexpr size_t kMostAsked = 1024;

// A thread may use the processors that its maker may. That of a first call may be bound to one; the process is not.
void everywhere() {
#if defined(__linux__)
  cpu_set_t all;
  if (!sched_getaffinity(getpid(), sizeof all, &all)) pthread_setaffinity_np(pthread_self(), sizeof all, &all);
#endif
}

struct Pool {
  std::mutex mutex;
  std::condition_variable posted;
  std::vector<Team*> asked;  // a team for each helper that it has asked for and not got
  std::atomic<int> waiting{0};  // asked.size(), for those who do not hold the mutex
  std::vector<Sleeper*> sleepers;  // those asleep
  int threads = 0;

  // Calls follow one another closely: look out for the next one for a while before sleeping.
  void look_out() {
    auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(200);
    while (!waiting.load(std::memory_order_relaxed) && std::chrono::steady_clock::now() < until) sched_yield();
  }

  void serve() {
    everywhere();
    for (Sleeper self;;) {
      look_out();
      std::unique_lock<std::mutex> lock(mutex);
      sleepers.push_back(&self);
      posted.wait(lock, [&] { return !asked.empty(); });
      sleepers.erase(std::find(sleepers.begin(), sleepers.end(), &self));
      self.awake();
      Team* team = asked.front();
      asked.erase(asked.begin());
      waiting.store((int)asked.size(), std::memory_order_relaxed);
      lock.unlock();
      team_help(team);
    }
  }

  int ask(Team* team, int helpers) {
    std::unique_lock<std::mutex> lock(mutex);
    while (threads < helpers && start()) threads++;
    helpers = std::min({helpers, threads, (int)(asked.capacity() - asked.size())});
    asked.insert(asked.end(), helpers, team);
    waiting.store((int)asked.size(), std::memory_order_relaxed);
    bool wake = !sleepers.empty();
    for (size_t n = 0; n < sleepers.size() && (int)n < helpers; n++) sleepers[n]->steer();
    lock.unlock();
    if (wake) posted.notify_all();
    return helpers;
  }

  int withdraw(Team* team) {
    std::lock_guard<std::mutex> lock(mutex);
    size_t before = asked.size();
    asked.erase(std::remove(asked.begin(), asked.end(), team), asked.end());
    waiting.store((int)asked.size(), std::memory_order_relaxed);
    return (int)(before - asked.size());
  }

  // Signals are for the program's own threads.
  bool start() {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = true;
    try {
      sleepers.reserve(threads + 1), asked.reserve(kMostAsked);
      std::thread([this] { serve(); }).detach();
    } catch (...) {  // no thread or no memory to be had: the caller does it alone
      started = false;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return started;
  }
};

std::atomic<Pool*> pool{nullptr};
std::atomic<bool> forked{false};

// The old pool's threads are not here, and its mutex may be held by one of them. Known from when the library is loaded: a
// fork may come before the first call.
void in_child() { forked = true, pool = nullptr; }
const int told = pthread_atfork(nullptr, nullptr, in_child);

// Null where there is no memory for one.
Pool* the_pool() {
  Pool* found = pool;
  if (found) return found;
  Pool* made = new (std::nothrow) Pool;
  if (pool.compare_exchange_strong(found, made)) return made;
  delete made;  // another call was sooner
  return found;
}

}  // namespace

int pool_ask(Team* team, int helpers) {
  Pool* found = the_pool();
  return found ? found->ask(team, helpers) : 0;
}

int pool_withdraw(Team* team) {
  Pool* found = the_pool();
  return found ? found->withdraw(team) : 0;
}

bool openmp_run(int64_t runtime, void (*all)(void*), void* about, int threads) {
  typedef void Parallel(void (*)(void*), void*, unsigned, unsigned);
  static std::atomic<Parallel*> known{nullptr};
  if (forked) return false;
  Parallel* parallel = runtime == 1 ? known.load() : (Parallel*)runtime;
  if (!parallel) known = parallel = (Parallel*)dlsym(RTLD_DEFAULT, "GOMP_parallel");
  if (!parallel) return false;
  parallel(all, about, (unsigned)threads, 0);
  return true;
}
