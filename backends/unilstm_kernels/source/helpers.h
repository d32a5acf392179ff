// Where a team's helpers come from. A helper may come late, or never: what it would have done, the others do.
#pragma once
#include <stdint.h>

struct Team;
struct Job;

// Help with what there is to do until the call is over. Releases the team once; the caller's own thread leaves at once.
void team_help(Team* team);

// A source of helpers that another library has.
struct Source {
  void* context;
  bool (*ask)(void* context, void (*task)(void*), void* data);  // false: it has none to give. Else the task will run
};

// Threads of the library's own: how many of these helpers will come, and, when the call is over, how many of them have
// not set out and are called off.
int pool_ask(Team* team, int helpers);
int pool_withdraw(Team* team);

// Runs `all` on the caller and on threads of an OpenMP runtime that the process has already, and waits for them. runtime:
// as kOpenMp. False where there is none, or not in this process, whose threads a fork has left behind.
bool openmp_run(int64_t runtime, void (*all)(void*), void* about, int threads);

typedef bool Direction(const Job*, bool, Team*);
int run_with(const Source* source, int threads, Job* jobs, int64_t count, bool backward);  // as unilstm_run
bool team_run(Direction* run, const Job* jobs, int64_t count, bool backward, const Source* source, int threads);
