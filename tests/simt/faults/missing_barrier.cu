// Reverses a block by way of shared memory. Planted: threads read before others have written.
#include "fault.h"

namespace missing_barrier {

__global__ void reverse(const int* in, int* out, bool planted) {
  __shared__ int tile[block_threads];
  tile[threadIdx.x] = in[threadIdx.x];
  if (!planted) __syncthreads();
  out[threadIdx.x] = tile[block_threads - 1 - threadIdx.x];
}

inline const char* check(bool planted) {
  const std::vector<int> in = counting(block_threads);
  std::vector<int> out(in.size());
  if (const char* error = launch(reverse, 1, block_threads, nullptr, in.data(), out.data(), planted))
    return error;
  return wrong_unless(std::equal(out.rbegin(), out.rend(), in.begin()));
}

}  // namespace missing_barrier
