// The part of XLA's foreign function interface (its C ABI, major version 0) that a handler of buffers needs, so that
// the library is built without XLA's headers. tests/test_kernel_jax.py checks the layout against them.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace xla_abi {

struct Extension {
  size_t size;
  int type;  // 1: the caller asks for metadata
  Extension* next;
};
struct Version { size_t size; Extension* extension; int major, minor; };
struct Metadata { size_t size; Version version; uint32_t traits; };
struct MetadataExtension { Extension base; Metadata* metadata; };

struct Error;
struct DestroyArguments { size_t size; Extension* extension; Error* error; };
struct ScheduleArguments { size_t size; Extension* extension; void* context; void (*task)(void*); void* data; };
struct CountArguments { size_t size; Extension* extension; void* context; int64_t* count; };
struct ErrorArguments { size_t size; Extension* extension; const char* message; int code; };
struct Api {
  size_t size;
  Extension* extension;
  Version version;
  const void* internal;
  Error* (*create_error)(ErrorArguments*);
  void* get_message;
  void (*destroy_error)(DestroyArguments*);
  void* others[8];
  Error* (*schedule)(ScheduleArguments*);
  Error* (*count_threads)(CountArguments*);
};

struct Buffer { size_t size; Extension* extension; int type; void* data; int64_t rank; int64_t* sizes; };
struct Buffers { size_t size; Extension* extension; int64_t count; int* types; void** items; };
struct Text { const char* data; size_t length; };
struct Scalar { int type; void* value; };
struct Array { int type; size_t count; void* data; };
struct Attributes { size_t size; Extension* extension; int64_t count; int* types; Text** names; void** items; };

struct Frame {
  size_t size;
  Extension* extension;
  const Api* api;
  void* context;
  int stage;
  Buffers arguments, results;
  Attributes attributes;
};

constexpr int kMetadata = 1, kInvalidArgument = 3, kResourceExhausted = 8;

}  // namespace xla_abi
