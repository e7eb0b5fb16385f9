// Counts the odd numbers of each block. Planted: the counter is taken to start at zero.
#include "fault.h"

namespace uninitialised_shared {

__global__ void count_odd(const int* in, int* counts, bool planted) {
  __shared__ int count;
  if (!planted) {
    if (threadIdx.x == 0) count = 0;
    __syncthreads();
  }
  if (in[blockIdx.x * blockDim.x + threadIdx.x] % 2) atomicAdd(&count, 1);
  __syncthreads();
  if (threadIdx.x == 0) counts[blockIdx.x] = count;
}

inline const char* check(bool planted) {
  const std::vector<int> in = counting(3 * block_threads);
  std::vector<int> counts(3);
  if (const char* error = launch(count_odd, 3, block_threads, nullptr, in.data(), counts.data(), planted))
    return error;
  return wrong_unless(counts == std::vector<int>(3, block_threads / 2));
}

}  // namespace uninitialised_shared
