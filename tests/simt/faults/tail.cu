// Doubles an array whose length is no multiple of the block. Planted: one element too many.
#include "fault.h"

namespace tail {

__global__ void twice(const int* in, int* out, int n) {
  for (int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); i < n; i += blockDim.x * gridDim.x)
    out[i] = 2 * in[i];
}

inline const char* check(bool planted) {
  const std::vector<int> in = counting(3 * block_threads + 5);
  std::vector<int> out(in.size());
  const int n = static_cast<int>(in.size()) + planted;
  if (const char* error = launch(twice, 2, block_threads, nullptr, in.data(), out.data(), n)) return error;
  return wrong_unless(out.back() == 2 * in.back());
}

}  // namespace tail
