// Masks of dropout: the words of unilstm/masks.py, a vector of counters at a time.
#pragma once
#include "masks_job.h"
#include "vector.h"

namespace {

typedef uint32_t Words __attribute__((vector_size(kBytes)));
constexpr int kWords = kBytes / 4;

INLINE Words all_words(uint32_t a) { return Words{} + a; }

// The first of the two words that Threefry-2x32 of 20 rounds (Salmon et al. 2011) makes of each counter (a, b).
INLINE Words threefry(const uint32_t* key, Words a, Words b) {
  constexpr int rotations[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
  const uint32_t schedule[3] = {key[0], key[1], key[0] ^ key[1] ^ 0x1BD11BDA};
  a += all_words(schedule[0]), b += all_words(schedule[1]);
#pragma GCC unroll 5
  for (uint32_t group = 0; group < 5; group++) {
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
      int r = rotations[group % 2][k];
      a += b, b = a ^ ((b << r) | (b >> (32 - r)));
    }
    a += all_words(schedule[(group + 1) % 3]), b += all_words(schedule[(group + 2) % 3] + group + 1);
  }
  return a;
}

template <class T> static void mask(const MaskJob& job, T* out) {
  Words counter{}, stream = all_words(job.stream);
  for (int k = 0; k < kWords; k++) counter[k] = (uint32_t)k;
  for (int64_t at = 0; at < job.count; at += kWords, counter += all_words(kWords)) {
    uint32_t words[kWords];
    Words found = threefry(job.key, counter, stream);
    memcpy(words, &found, sizeof words);
    int64_t left = job.count - at;
    if (left >= kWords)
      for (int k = 0; k < kWords; k++) out[at + k] = words[k] >= job.least ? (T)job.kept : (T)0;
    else
      for (int k = 0; k < left; k++) out[at + k] = words[k] >= job.least ? (T)job.kept : (T)0;
  }
}

}  // namespace
