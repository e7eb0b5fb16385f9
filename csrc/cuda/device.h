// What the operators ask of the CUDA runtime. tests/simt has another implementation, for the CPU.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace vae_fast {
namespace cuda {

// Blocks of our kernels that run at once on a device.
int64_t resident_blocks(int32_t device);

// PyTorch's current stream of a device.
void* current_stream(int32_t device);

bool is_capturing(void* stream);

// Fills memory with zeros, on the stream. Returns an error text or null.
const char* clear(void* memory, size_t bytes, void* stream);

}  // namespace cuda
}  // namespace vae_fast
