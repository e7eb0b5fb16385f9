// Sums of neighbours within a block. Planted: the last thread has no neighbour.
#include "fault.h"

namespace shared_bounds {

__global__ void sums(const int* in, int* out, bool planted) {
  __shared__ int tile[block_threads];
  tile[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  const unsigned next = threadIdx.x + 1;
  out[threadIdx.x] = tile[threadIdx.x] + (planted || next < block_threads ? tile[next] : 0);
}

inline const char* check(bool planted) {
  const std::vector<int> in = counting(block_threads);
  std::vector<int> out(in.size());
  if (const char* error = launch(sums, 1, block_threads, nullptr, in.data(), out.data(), planted))
    return error;
  return wrong_unless(out[0] == 3 && out[126] == 255);
}

}  // namespace shared_bounds
