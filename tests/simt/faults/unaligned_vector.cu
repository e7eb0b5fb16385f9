// Copies in packets of 16 bytes. Planted: from an address that no packet may have.
#include "fault.h"

namespace unaligned_vector {

__global__ void copy(const float* in, float* out) {
  reinterpret_cast<float4*>(out)[threadIdx.x] = __ldg(reinterpret_cast<const float4*>(in) + threadIdx.x);
}

inline const char* check(bool planted) {
  alignas(16) float in[4 * block_threads + 1];
  alignas(16) float out[4 * block_threads];
  std::iota(in, in + 4 * block_threads + 1, 0.0f);
  if (const char* error = launch(copy, 1, block_threads, nullptr, in + planted, out)) return error;
  return wrong_unless(std::equal(out, out + 4 * block_threads, in + planted));
}

}  // namespace unaligned_vector
