// Every lane learns its warp's maximum. Planted: odd lanes meet the even ones in another primitive.
#include "fault.h"

namespace mixed_primitives {

__global__ void maximum(const int* in, int* out, bool planted) {
  int value = in[threadIdx.x];
  for (int distance = warpSize / 2; distance > 0; distance /= 2)
    value = planted && threadIdx.x % 2 ? max(value, __shfl_down_sync(0xffffffffu, value, distance))
                                       : max(value, __shfl_xor_sync(0xffffffffu, value, distance));
  out[threadIdx.x] = value;
}

inline const char* check(bool planted) {
  const std::vector<int> in = counting(block_threads);
  std::vector<int> out(in.size());
  if (const char* error = launch(maximum, 1, block_threads, nullptr, in.data(), out.data(), planted))
    return error;
  return wrong_unless(out[0] == 32 && out[31] == 32 && out[32] == 64);
}

}  // namespace mixed_primitives
