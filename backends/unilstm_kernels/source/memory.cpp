// The working memory of calls. A block is kept from call to call, and a smaller one, for jobs that are done at once: the
// system clears each page of what it gives anew, which costs a training step of a large layer a twentieth of its time.
#include "memory.h"
#include <stdlib.h>
#include <atomic>

namespace {

struct alignas(64) Block {
  int64_t bytes;  // behind this
};

constexpr int64_t kLeast = 1 << 20, kMost[] = {128 << 20, 32 << 20};  // of blocks that are kept
std::atomic<Block*> spare[2];

void put(Block* block) {
  for (int k = 0; block && k < 2; k++) {
    int64_t bytes = block->bytes;  // not to be read once it is there: another call may take it, and give it back
    if (bytes < kLeast || bytes > kMost[k]) continue;
    Block* other = spare[k].exchange(block);
    if (other && other->bytes > bytes) other = spare[k].exchange(other);  // the larger one stays
    block = other;
  }
  free(block);
}

}  // namespace

void* memory_take(int64_t bytes) {
  Block* block = nullptr;
  for (int k = 1; k >= 0 && bytes >= kLeast; k--) {
    block = spare[k].exchange(nullptr);
    if (block && block->bytes >= bytes) return block + 1;
    if (block) put(block);
  }
  if (posix_memalign((void**)&block, 64, sizeof(Block) + bytes)) return nullptr;
  block->bytes = bytes;
  return block + 1;
}

void memory_give(void* memory) {
  if (memory) put((Block*)memory - 1);
}
