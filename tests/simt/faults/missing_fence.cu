// The last warp to count itself adds up what all warps have written. Planted: no fences around the count.
#include "fault.h"

namespace missing_fence {

__global__ void total(const int* in, volatile int* part, unsigned* ticket, int* out, bool planted) {
  constexpr unsigned warps = block_threads / 32;
  int sum = in[threadIdx.x];
  for (int distance = warpSize / 2; distance > 0; distance /= 2)
    sum += __shfl_xor_sync(0xffffffffu, sum, distance);
  if (threadIdx.x % warpSize != 0) return;
  part[threadIdx.x / warpSize] = sum;
  if (!planted) __threadfence();
  if (atomicInc(ticket, warps - 1) != warps - 1) return;
  if (!planted) __threadfence();
  sum = 0;
  for (unsigned warp = 0; warp < warps; ++warp) sum += part[warp];
  *out = sum;
}

inline const char* check(bool planted) {
  const std::vector<int> in = counting(block_threads);
  int part[block_threads / 32], out = 0;
  unsigned ticket = 0;
  if (const char* error = launch(total, 1, block_threads, nullptr, in.data(), part, &ticket, &out, planted))
    return error;
  return wrong_unless(out == block_threads * (block_threads + 1) / 2 && ticket == 0);
}

}  // namespace missing_fence
