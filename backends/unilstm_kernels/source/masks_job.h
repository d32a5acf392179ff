// What one mask is. The C ABI of the masks.
#pragma once
#include <stdint.h>

struct MaskJob {
  int64_t count;
  uint32_t key[2], stream;
  uint32_t least;        // of a word that is kept
  double kept;           // what is there then, else 0
  int64_t is_double;
  void* out;
};
