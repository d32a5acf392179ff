// The working memory of calls. One block is kept from call to call: the system clears each page of what it gives anew,
// which costs a training step of a large layer a twentieth of its time.
#include "memory.h"
#include <stdlib.h>
#include <atomic>

namespace {

struct alignas(64) Block {
  int64_t bytes;  // behind this
};

constexpr int64_t kMost = 128 << 20, kLeast = 1 << 20;  // of a block that is kept
std::atomic<Block*> spare{nullptr};

void put(Block* block) {
  if (block->bytes < kLeast || block->bytes > kMost) return free(block);
  Block* other = spare.exchange(block);
  if (!other) return;
  if (other->bytes > block->bytes) other = spare.exchange(other);  // the larger one stays
  free(other);
}

}  // namespace

void* memory_take(int64_t bytes) {
  Block* block = bytes < kLeast ? nullptr : spare.exchange(nullptr);
  if (block && block->bytes >= bytes) return block + 1;
  if (block) put(block);
  if (posix_memalign((void**)&block, 64, sizeof(Block) + bytes)) return nullptr;
  block->bytes = bytes;
  return block + 1;
}

void memory_give(void* memory) {
  if (memory) put((Block*)memory - 1);
}
