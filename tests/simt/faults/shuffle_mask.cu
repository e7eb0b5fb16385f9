// The first half of each warp sums its lanes. Planted: a mask that names the other half, too.
#include "fault.h"

namespace shuffle_mask {

__global__ void half_sums(int* sums, bool planted) {
  const int lane = static_cast<int>(threadIdx.x) % warpSize;
  if (lane >= warpSize / 2) return;
  const unsigned mask = planted ? 0xffffffffu : 0x0000ffffu;
  int sum = lane;
  for (int distance = warpSize / 4; distance > 0; distance /= 2)
    sum += __shfl_down_sync(mask, sum, distance, 16);
  if (lane == 0) sums[threadIdx.x / warpSize] = sum;
}

inline const char* check(bool planted) {
  std::vector<int> sums(block_threads / warpSize);
  if (const char* error = launch(half_sums, 1, block_threads, nullptr, sums.data(), planted)) return error;
  return wrong_unless(sums == std::vector<int>(sums.size(), 120));
}

}  // namespace shuffle_mask
