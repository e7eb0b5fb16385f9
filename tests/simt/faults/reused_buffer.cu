// Two sums over a block through the same shared buffer. Planted: nothing keeps a fast warp from writing its
// part of the second sum before the first thread has read all parts of the first one.
#include "fault.h"

namespace reused_buffer {

// The sum, in the first thread.
template <class T>
__device__ T block_sum(T value, bool planted) {
  __shared__ T part[block_threads / warpSize];
  for (int distance = warpSize / 2; distance > 0; distance /= 2)
    value += __shfl_xor_sync(0xffffffffu, value, distance);
  if (!planted) __syncthreads();
  if (threadIdx.x % warpSize == 0) part[threadIdx.x / warpSize] = value;
  __syncthreads();
  if (threadIdx.x == 0)
    for (int warp = 1; warp < block_threads / warpSize; ++warp) value += part[warp];
  return value;
}

__global__ void moments(const double* in, double* out, bool planted) {
  const double x = in[threadIdx.x];
  const double sum = block_sum(x, planted), squares = block_sum(x * x, planted);
  if (threadIdx.x != 0) return;
  out[0] = sum;
  out[1] = squares;
}

inline const char* check(bool planted) {
  const std::vector<double> in = counting<double>(block_threads);
  double out[2];
  if (const char* error = launch(moments, 1, block_threads, nullptr, in.data(), out, planted)) return error;
  const double n = block_threads;
  return wrong_unless(out[0] == n * (n + 1) / 2 && out[1] == n * (n + 1) * (2 * n + 1) / 6);
}

}  // namespace reused_buffer
