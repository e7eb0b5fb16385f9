// The part of CUDA that the kernels use, for a C++ compiler: the same unchanged sources run on the CPU, every
// thread in turn (simt_scheduler.h), in an order that SIMT_SCHEDULE chooses (simt_schedule.h), so that tests
// and sanitizers see them without a GPU. Stricter than CUDA where it leaves room: shared memory starts as
// rubbish, a barrier wants every thread of the block and a mask every lane that it names, returned ones
// included, and values come from lanes of the mask only.
//
// Not modelled: what needs two blocks at once (blocks run one after the other, each ordered after the one
// before), warps in lockstep, stale reads, waiting in a loop over plain memory (over atomics it works within
// a block), the accuracy of approximate intrinsics, registers and other limits.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <cmath>
#include <tuple>
#include <type_traits>

#include "simt_scheduler.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __shared__ static thread_local  // why: SharedMemory in simt_scheduler.h

#define threadIdx simt::thread_index
#define blockIdx simt::block_index
#define blockDim simt::block_extent
#define gridDim simt::grid_extent
constexpr int warpSize = simt::warp_lanes;

namespace vae_fast {
namespace cuda {

// Runs a kernel to its end. Returns an error text, or null.
template <class... Parameters, class... Arguments>
inline const char* launch(void (*kernel)(Parameters...), int64_t blocks, int threads, void* /*stream*/,
                          Arguments... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments), "as many arguments as parameters");
  std::tuple<std::decay_t<Parameters>...> parameters(arguments...);
  auto body = [kernel, &parameters] { std::apply(kernel, parameters); };
  return simt::Scheduler::get().run(
      blocks, threads, [](void* context) { (*static_cast<decltype(body)*>(context))(); }, &body);
}

}  // namespace cuda
}  // namespace vae_fast

// Vector types, aligned as CUDA has them, so that UBSan finds packets at other addresses.

#define SIMT_VECTORS(scalar, name, alignment2, alignment4)             \
  struct alignas(alignment2) name##2 { scalar x, y; };                 \
  struct alignas(alignment4) name##4 { scalar x, y, z, w; };           \
  inline name##2 make_##name##2(scalar x, scalar y) { return {x, y}; } \
  inline name##4 make_##name##4(scalar x, scalar y, scalar z, scalar w) { return {x, y, z, w}; }
SIMT_VECTORS(float, float, 8, 16)
SIMT_VECTORS(int, int, 8, 16)
SIMT_VECTORS(unsigned, uint, 8, 16)
SIMT_VECTORS(unsigned char, uchar, 2, 4)
SIMT_VECTORS(unsigned short, ushort, 4, 8)
SIMT_VECTORS(double, double, 16, 16)
SIMT_VECTORS(long long, longlong, 16, 16)
#undef SIMT_VECTORS

// Loads and stores with cache hints.

template <class T>
inline T __ldg(const T* p) {
  return *p;
}
template <class T>
inline T __ldcg(const T* p) {
  return *p;
}
template <class T>
inline T __ldcs(const T* p) {
  return *p;
}
template <class T>
inline void __stwb(T* p, T value) {
  *p = value;
}
template <class T>
inline void __stcg(T* p, T value) {
  *p = value;
}
template <class T>
inline void __stcs(T* p, T value) {
  *p = value;
}

// Barriers.

namespace simt {

constexpr uint32_t all_lanes = 0xffffffffu;

inline uint64_t barrier(const char* kind, bool vote) {
  Offer offer;
  offer.value = vote;
  offer.ordered = true;
  return Scheduler::get().meet_block(kind, offer);
}

}  // namespace simt

inline void __syncthreads() { simt::barrier("__syncthreads", false); }
inline int __syncthreads_count(int vote) {
  return static_cast<int>(simt::barrier("__syncthreads_count", vote != 0));
}
inline int __syncthreads_or(int vote) { return simt::barrier("__syncthreads_or", vote != 0) != 0; }
inline int __syncthreads_and(int vote) { return simt::barrier("__syncthreads_and", vote == 0) == 0; }

inline void __syncwarp(unsigned mask = simt::all_lanes) {
  simt::Offer offer;
  offer.ordered = true;
  simt::Scheduler::get().meet_warp("__syncwarp", mask, offer);
}

inline void __threadfence() { simt::Scheduler::get().fence(); }
inline void __threadfence_block() { simt::Scheduler::get().fence(); }

// Votes and shuffles, which order no memory accesses.

inline unsigned __ballot_sync(unsigned mask, int vote) {
  simt::Offer offer;
  offer.value = uint64_t(vote != 0) << (simt::Scheduler::get().current() % warpSize);
  return static_cast<unsigned>(simt::Scheduler::get().meet_warp("a vote", mask, offer));
}
inline int __any_sync(unsigned mask, int vote) { return __ballot_sync(mask, vote) != 0; }
inline int __all_sync(unsigned mask, int vote) { return __ballot_sync(mask, vote == 0) == 0; }

// The least that CUDA promises: the lane that asks.
inline unsigned __activemask() { return 1u << (simt::Scheduler::get().current() % warpSize); }

namespace simt {

// Every lane gets the value of the lane source(lane, first, last), if that lies in its own segment of
// `width` lanes from first to last, else its own.
template <class T, class Source>
__attribute__((noinline)) T shuffle(const char* kind, uint32_t mask, T value, int width, Source source) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8), "CUDA shuffles 4 or 8 bytes");
  if (width < 1 || width > warp_lanes || (width & (width - 1)))
    fail("%s with a width of %d, which is no power of two up to 32", kind, width);
  Scheduler& scheduler = Scheduler::get();
  const int lane = scheduler.current() % warp_lanes;
  const int first = lane & ~(width - 1);
  Offer offer;
  memcpy(&offer.value, &value, sizeof value);
  offer.source = scheduler.current() - lane + source(lane, first, first + width - 1);
  const uint64_t received = scheduler.meet_warp(kind, mask, offer);
  memcpy(&value, &received, sizeof value);
  return value;
}

}  // namespace simt

template <class T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = warpSize) {
  return simt::shuffle("__shfl_sync", mask, value, width,
                       [=](int, int first, int) { return first + (source & (width - 1)); });
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize) {
  return simt::shuffle("__shfl_up_sync", mask, value, width, [=](int lane, int first, int) {
    return delta > static_cast<unsigned>(lane - first) ? lane : lane - static_cast<int>(delta);
  });
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize) {
  return simt::shuffle("__shfl_down_sync", mask, value, width, [=](int lane, int, int last) {
    return delta > static_cast<unsigned>(last - lane) ? lane : lane + static_cast<int>(delta);
  });
}
// Lanes of segments before its own can be read too.
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = warpSize) {
  return simt::shuffle("__shfl_xor_sync", mask, value, width, [=](int lane, int, int last) {
    return (lane ^ bits) > last || bits < 0 || bits >= warpSize ? lane : lane ^ bits;
  });
}

// Atomics of integers, relaxed as CUDA's; others may run before each. There are none of floats: their sums
// would depend on the schedule.

namespace simt {

// Replaces a value by update(value). No other thread runs in between.
template <class T, class Update>
inline T modify(T* p, Update update) {
  Scheduler::get().yield();
  const T old = __atomic_load_n(p, __ATOMIC_RELAXED);
  __atomic_store_n(p, update(old), __ATOMIC_RELAXED);
  return old;
}

}  // namespace simt

inline unsigned atomicInc(unsigned* p, unsigned last) {
  return simt::modify(p, [=](unsigned old) { return old >= last ? 0 : old + 1; });
}
#define SIMT_ATOMICS(T)                                                           \
  inline T atomicAdd(T* p, T value) {                                             \
    return simt::modify(p, [=](T old) { return static_cast<T>(old + value); });   \
  }                                                                               \
  inline T atomicExch(T* p, T value) {                                            \
    return simt::modify(p, [=](T) { return value; });                             \
  }                                                                               \
  inline T atomicCAS(T* p, T expected, T value) {                                 \
    return simt::modify(p, [=](T old) { return old == expected ? value : old; }); \
  }
SIMT_ATOMICS(int)
SIMT_ATOMICS(unsigned)
SIMT_ATOMICS(unsigned long long)
#undef SIMT_ATOMICS

// Arithmetic. The build must not contract multiplications and additions (-ffp-contract=off).

#define SIMT_CAST(name, From, To)          \
  inline To name(From x) {                 \
    static_assert(sizeof(To) == sizeof x); \
    To y;                                  \
    memcpy(&y, &x, sizeof y);              \
    return y;                              \
  }
SIMT_CAST(__float_as_int, float, int)
SIMT_CAST(__int_as_float, int, float)
SIMT_CAST(__float_as_uint, float, unsigned)
SIMT_CAST(__uint_as_float, unsigned, float)
SIMT_CAST(__double_as_longlong, double, long long)
SIMT_CAST(__longlong_as_double, long long, double)
#undef SIMT_CAST

inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fdividef(float a, float b) { return a / b; }
inline float __saturatef(float x) { return x >= 1.0f ? 1.0f : x > 0.0f ? x : 0.0f; }  // NaN: 0
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
// The C library has functions of these names.
#define __expf(x) expf(x)
#define __logf(x) logf(x)

inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(uint64_t(a) * b >> 32); }
inline int __mul24(int a, int b) {
  const auto low24 = [](int x) { return static_cast<int64_t>(static_cast<int32_t>(unsigned(x) << 8) >> 8); };
  return static_cast<int>(low24(a) * low24(b));
}
// Four of the eight bytes of y and x, by the low three bits of each nibble of the selector; its high bit
// repeats the byte's sign.
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const uint64_t bytes = uint64_t(y) << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned nibble = selector >> (4 * i);
    unsigned byte = bytes >> (8 * (nibble & 7)) & 0xff;
    if (nibble & 8) byte = byte & 0x80 ? 0xff : 0;
    result |= byte << (8 * i);
  }
  return result;
}

// As CUDA's: in the common type, and a number rather than NaN where there is one.
template <class A, class B, class T = std::enable_if_t<std::is_arithmetic_v<A>, std::common_type_t<A, B>>>
inline T min(A a, B b) {
  if constexpr (std::is_floating_point_v<T>)
    return std::fmin(T(a), T(b));
  else
    return T(b) < T(a) ? T(b) : T(a);
}
template <class A, class B, class T = std::enable_if_t<std::is_arithmetic_v<A>, std::common_type_t<A, B>>>
inline T max(A a, B b) {
  if constexpr (std::is_floating_point_v<T>)
    return std::fmax(T(a), T(b));
  else
    return T(a) < T(b) ? T(b) : T(a);
}
