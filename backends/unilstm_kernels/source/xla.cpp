// The handler through which XLA, and with it JAX, calls the kernels. Attributes: numbers of each job (0 threads: as many
// as XLA has) and, at their end, backward; reals of all of them; for each argument and result which array of which job it
// is: the job times kArrays + the array. y and its gradient are the first job's, and those of all, but of a stack.
#include <string.h>
#include <memory>
#include <new>
#include "helpers.h"
#include "job.h"
#include "xla_abi.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

using namespace xla_abi;

static const char kNoMemory[] = "unilstm: no memory for working arrays";
static int version[2] = {0, 1};

// The version of the interface that handlers are to report: the caller's, as far as it is of this major version.
EXPORT void unilstm_xla_version(int major, int minor) { version[0] = major, version[1] = minor; }

// Offsets by which a test compares xla_abi.h with XLA's own headers.
EXPORT const int64_t* unilstm_xla_layout() {
  static const int64_t layout[] = {
    offsetof(Frame, api), offsetof(Frame, stage), offsetof(Frame, arguments), offsetof(Frame, results),
    offsetof(Frame, attributes), offsetof(Buffers, count), offsetof(Buffers, items), offsetof(Buffer, data),
    offsetof(Attributes, names), offsetof(Attributes, items), offsetof(xla_abi::Array, count), offsetof(xla_abi::Array, data),
    offsetof(Api, create_error), offsetof(Api, destroy_error), offsetof(Api, schedule), offsetof(Api, count_threads),
    offsetof(ScheduleArguments, context), offsetof(ScheduleArguments, data), offsetof(CountArguments, count), offsetof(ErrorArguments, message), offsetof(ErrorArguments, code),
    offsetof(MetadataExtension, metadata), offsetof(Metadata, version), offsetof(Version, major), -1};
  return layout;
}

static Error* failure(const Frame* frame, const char* message, int code) {
  ErrorArguments arguments{sizeof(ErrorArguments), nullptr, message, code};
  return frame->api->create_error(&arguments);
}

static const xla_abi::Array* attribute(const Frame* frame, const char* name) {
  const Attributes& all = frame->attributes;
  for (int64_t k = 0; k < all.count; k++)
    if (all.names[k]->length == strlen(name) && !memcmp(all.names[k]->data, name, strlen(name)))
      return (const xla_abi::Array*)all.items[k];
  return nullptr;
}

static bool place(Job* jobs, int64_t count, const Buffers& buffers, const xla_abi::Array* which) {
  if (!which || (int64_t)which->count != buffers.count) return false;
  for (int64_t k = 0; k < buffers.count; k++) {
    int64_t at = ((const int64_t*)which->data)[k];
    if (at < 0 || at >= count * kArrays) return false;
    jobs[at / kArrays].array[at % kArrays] = ((Buffer*)buffers.items[k])->data;
  }
  return true;
}

// XLA's own threads: others would contend with them for the processors.
static bool fine(const Frame* frame, Error* error) {
  if (!error) return true;
  DestroyArguments arguments{sizeof(DestroyArguments), nullptr, error};
  frame->api->destroy_error(&arguments);
  return false;
}

static bool schedule(void* context, void (*task)(void*), void* data) {
  const Frame* frame = (const Frame*)context;
  ScheduleArguments arguments{sizeof(ScheduleArguments), nullptr, frame->context, task, data};
  return fine(frame, frame->api->schedule(&arguments));
}

static int threads_of(const Frame* frame) {
  int64_t count = 1;
  if (frame->api->size < offsetof(Api, count_threads) + sizeof(void*)) return 1;  // of before it had them
  CountArguments arguments{sizeof(CountArguments), nullptr, frame->context, &count};
  return fine(frame, frame->api->count_threads(&arguments)) ? (int)count : 1;
}

EXPORT Error* unilstm_xla(Frame* frame) {
  if (frame->extension && frame->extension->type == kMetadata) {
    Metadata* metadata = ((MetadataExtension*)frame->extension)->metadata;
    metadata->version.major = version[0], metadata->version.minor = version[1], metadata->traits = 0;
    return nullptr;
  }
  const xla_abi::Array *numbers = attribute(frame, "numbers"), *reals = attribute(frame, "reals");
  int64_t count = numbers ? ((int64_t)numbers->count - 1) / kNumbers : 0;
  if (count < 1 || (int64_t)numbers->count != count * kNumbers + 1 || !reals || reals->count != kReals)
    return failure(frame, "unilstm: the jobs have another layout than the library", kInvalidArgument);
  const int64_t* number = (const int64_t*)numbers->data;
  std::unique_ptr<Job[]> jobs(new (std::nothrow) Job[count]{});
  if (!jobs) return failure(frame, kNoMemory, kResourceExhausted);
  for (int64_t k = 0; k < count; k++) {
    memcpy(jobs[k].number, number + k * kNumbers, sizeof jobs[k].number);
    memcpy(jobs[k].real, reals->data, sizeof jobs[k].real);
  }
  if (!place(jobs.get(), count, frame->arguments, attribute(frame, "arguments")) || !place(jobs.get(), count, frame->results, attribute(frame, "results")))
    return failure(frame, "unilstm: arrays that do not fit the jobs", kInvalidArgument);
  for (int64_t k = 1; k < count && !jobs[1].number[kStacked]; k++)
    jobs[k].array[kY] = jobs[0].array[kY], jobs[k].array[kDy] = jobs[0].array[kDy];
  Source source{frame, schedule};
  int threads = number[kThreads] ? (int)number[kThreads] : threads_of(frame);
  switch (run_with(&source, threads, jobs.get(), count, number[count * kNumbers])) {
    case 0: return nullptr;
    case 1: return failure(frame, kNoMemory, kResourceExhausted);
    case 3: return failure(frame, "unilstm: there is no step, or no row", kInvalidArgument);
    default: return failure(frame, "unilstm: no instruction set for this processor", kInvalidArgument);
  }
}
