// Without a fault: every primitive returns what CUDA defines. In a file of its own that is compiled and
// linked apart, as kernels are.
#include <stdio.h>

#include <limits>

#include "fault.h"

namespace {

// One bit for each thing that is wrong, so that a failure says which.
__device__ void expect(unsigned* wrong, int bit, bool right) {
  if (!right) atomicAdd(wrong, 1u << bit);
}

template <class T>
__device__ bool shuffles() {
  const int lane = static_cast<int>(threadIdx.x) % warpSize;
  const T offset = std::numeric_limits<T>::max() / 2;  // needs all bytes of the type
  const T own = offset - static_cast<T>(lane);
  const auto is = [=](T got, int from) { return got == offset - static_cast<T>(from); };
  const unsigned all = 0xffffffffu;
  bool right = is(__shfl_sync(all, own, 5), 5);
  right &= is(__shfl_sync(all, own, 37), 5);
  right &= is(__shfl_sync(all, own, 3, 8), lane / 8 * 8 + 3);
  right &= is(__shfl_up_sync(all, own, 3), lane < 3 ? lane : lane - 3);
  right &= is(__shfl_up_sync(all, own, 3, 16), lane % 16 < 3 ? lane : lane - 3);
  right &= is(__shfl_down_sync(all, own, 3), lane >= 29 ? lane : lane + 3);
  right &= is(__shfl_down_sync(all, own, 3, 16), lane % 16 >= 13 ? lane : lane + 3);
  right &= is(__shfl_xor_sync(all, own, 17), lane ^ 17);
  right &= is(__shfl_xor_sync(all, own, 16, 16), lane < 16 ? lane : lane - 16);
  // Lanes of different masks do not wait for each other.
  right &= is(__shfl_xor_sync(lane % 2 ? 0xaaaaaaaau : 0x55555555u, own, 2), lane ^ 2);
  return right;
}

__global__ void check_threads(unsigned* wrong) {
  const unsigned all = 0xffffffffu, lane = threadIdx.x % 32;
  expect(wrong, 0, shuffles<int>() && shuffles<unsigned>() && shuffles<float>());
  expect(wrong, 1, shuffles<double>() && shuffles<long long>() && shuffles<unsigned long long>());
  expect(wrong, 2, __ballot_sync(all, lane % 3 == 0) == 0x49249249u);
  expect(wrong, 3, __any_sync(all, lane == 7) && !__any_sync(all, 0));
  expect(wrong, 4, __all_sync(all, 2) && !__all_sync(all, lane != 7));
  expect(wrong, 5, __syncthreads_count(lane < 5) == static_cast<int>(5 * blockDim.x / 32));
  expect(wrong, 6, __syncthreads_or(threadIdx.x == 9) && !__syncthreads_or(0));
  expect(wrong, 7, __syncthreads_and(1) && !__syncthreads_and(threadIdx.x != 9));
  expect(wrong, 8, __activemask() >> lane & 1);
  expect(wrong, 9, blockDim.x == block_threads && blockDim.y == 1 && gridDim.x == 2 && gridDim.z == 1);
}

__global__ void check_atomics(unsigned* wrong, unsigned* ticket, unsigned long long* sum, int* best) {
  atomicInc(ticket, 99);
  atomicAdd(sum, 1ull << 32);
  for (int old = atomicAdd(best, 0), seen = 0; old < static_cast<int>(threadIdx.x); old = seen) {
    seen = atomicCAS(best, old, static_cast<int>(threadIdx.x));
    if (seen == old) break;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  expect(wrong, 10, *ticket == block_threads % 100 && *sum == (1ull << 32) * block_threads);
  expect(wrong, 11, *best == block_threads - 1 && atomicExch(best, 3) == block_threads - 1 && *best == 3);
}

__global__ void check_arithmetic(unsigned* wrong) {
  expect(wrong, 12, __float_as_int(1.0f) == 0x3f800000 && __uint_as_float(0x40000000u) == 2.0f);
  expect(wrong, 13, __clz(0) == 32 && __clz(1) == 31 && __clz(-1) == 0);
  expect(wrong, 14, __ffs(0) == 0 && __ffs(8) == 4 && __popc(0xf0f0u) == 8);
  expect(wrong, 15, __umulhi(0x80000000u, 6u) == 3u && __mul24(0x1000003, -2) == -6);
  expect(wrong, 16, __byte_perm(0x33221100u, 0x77665584u, 0x7c40u) == 0x77ff8400u);
  expect(wrong, 17, min(1u, 2) == 1u && max(-1, 2LL) == 2 && min(2.0f, NAN) == 2.0f && max(NAN, 1.0) == 1.0);
  expect(wrong, 18, __saturatef(NAN) == 0.0f && __saturatef(2.0f) == 1.0f && __saturatef(0.25f) == 0.25f);
  expect(wrong, 19, __expf(0.0f) == 1.0f && __logf(1.0f) == 0.0f && rsqrtf(4.0f) == 0.5f);
  expect(wrong, 20,
         __fmul_rn(3.0f, 2.0f) == 6.0f && __fsqrt_rn(9.0f) == 3.0f && __fdividef(1.0f, 4.0f) == 0.25f);
  expect(wrong, 21,
         alignof(float4) == 16 && alignof(uint2) == 8 && alignof(uchar4) == 4 && alignof(double2) == 16);
  const int4 four = make_int4(1, 2, 3, 4);
  int4 copy;
  __stcs(&copy, __ldcs(&four));
  __stcg(&copy.x, __ldcg(&four.y));
  expect(wrong, 22, copy.x == 2 && copy.w == 4);
}

}  // namespace

const char* check_primitives() {
  unsigned wrong = 0, ticket = 0;
  unsigned long long sum = 0;
  int best = 0;
  const char* error = launch(check_threads, 2, block_threads, nullptr, &wrong);
  if (!error) error = launch(check_atomics, 1, block_threads, nullptr, &wrong, &ticket, &sum, &best);
  if (!error) error = launch(check_arithmetic, 1, 1, nullptr, &wrong);
  if (error) return error;
  static char text[40];
  snprintf(text, sizeof text, "wrong primitives: bits 0x%x", wrong);
  return wrong ? text : nullptr;
}
