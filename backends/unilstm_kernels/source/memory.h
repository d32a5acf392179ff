// Working memory, 64-byte aligned. Nothing here is compiled for an instruction set.
#pragma once
#include <stdint.h>

void* memory_take(int64_t bytes);  // null: there is none
void memory_give(void* memory);    // or null
