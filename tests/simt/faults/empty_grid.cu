// Fills an array that happens to be empty. Planted: a launch without blocks, which CUDA refuses.
#include "fault.h"

namespace empty_grid {

__global__ void fill(int* out, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) out[i] = 1;
}

inline const char* check(bool planted) {
  std::vector<int> out;
  const int n = static_cast<int>(out.size());
  const int blocks = (n + block_threads - 1) / block_threads;
  return blocks || planted ? launch(fill, blocks, block_threads, nullptr, out.data(), n) : nullptr;
}

}  // namespace empty_grid
