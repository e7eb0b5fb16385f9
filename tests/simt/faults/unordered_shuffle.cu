// Neighbouring lanes swap through shared memory. Planted: a shuffle between writing and reading makes lanes
// wait for each other, but only a barrier orders what they write.
#include "fault.h"

namespace unordered_shuffle {

__global__ void swap(const int* in, int* out, bool planted) {
  __shared__ int tile[block_threads];
  tile[threadIdx.x] = in[threadIdx.x];
  if (planted)
    __shfl_xor_sync(0xffffffffu, 0, 1);
  else
    __syncwarp();
  out[threadIdx.x] = tile[threadIdx.x ^ 1];
}

inline const char* check(bool planted) {
  const std::vector<int> in = counting(block_threads);
  std::vector<int> out(in.size());
  if (const char* error = launch(swap, 1, block_threads, nullptr, in.data(), out.data(), planted))
    return error;
  return wrong_unless(out[0] == 2 && out[1] == 1 && out[127] == 127);
}

}  // namespace unordered_shuffle
