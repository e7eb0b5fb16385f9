// Packets: neighbouring elements that a thread moves at once, 16 bytes of a kernel's parameters; and single
// elements of any dtype.
#pragma once

#include "../math/convert.h"
#include "launch.cuh"
#include "plan.h"

#ifdef __CUDA_ARCH__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace vae_fast {
namespace cuda {

// Storage types without arithmetic of their own. A byte is an integer target or x / 255, or a bool.
struct bfloat16 {
  uint16_t bits;
};
struct float16 {
  uint16_t bits;
};
struct byte {
  uint8_t bits;
};

// The arithmetic's type and the dtype of a parameter's storage type.
template <class P>
struct Storage;
template <>
struct Storage<float> {
  using compute = float;
  static constexpr DType dtype = DType::float32;
};
template <>
struct Storage<double> {
  using compute = double;
  static constexpr DType dtype = DType::float64;
};
template <>
struct Storage<bfloat16> {
  using compute = float;
  static constexpr DType dtype = DType::bfloat16;
};
template <>
struct Storage<float16> {
  using compute = float;
  static constexpr DType dtype = DType::float16;
};

// Resident blocks that a kernel promises the compiler. In packets: half of the threads that a processor can
// hold, 2048 or 1536. Element by element, and in double, registers are worth more than threads.
#if defined(__CUDA_ARCH__) && (__CUDA_ARCH__ == 860 || __CUDA_ARCH__ == 890 || __CUDA_ARCH__ >= 1200)
constexpr int packet_blocks = 3;
#else
constexpr int packet_blocks = blocks_per_processor;
#endif
template <class T>
constexpr int element_blocks = sizeof(T) == 8 ? 2 : 3;

__device__ __forceinline__ float half_to_float(uint16_t bits) {
#ifdef __CUDA_ARCH__
  return __half2float(__ushort_as_half(bits));
#else
  return portable::float16_to_float(bits);
#endif
}

__device__ __forceinline__ uint16_t float_to_half(float x) {
#ifdef __CUDA_ARCH__
  return __half_as_ushort(__float2half_rn(x));
#else
  return portable::float_to_float16(x);
#endif
}

__device__ __forceinline__ uint16_t float_to_brain(float x) {
#ifdef __CUDA_ARCH__
  return __bfloat16_as_ushort(__float2bfloat16_rn(x));
#else
  return portable::float_to_bfloat16(x);
#endif
}

// E elements of storage type Q as they lie in memory, in registers.
template <class Q, int E>
struct Packet {
  static constexpr int bytes = E * static_cast<int>(sizeof(Q));
  static constexpr int words = bytes / 4;
  static_assert(bytes == 4 || bytes == 8 || bytes % 16 == 0, "a packet is one load or several of 16 bytes");
  uint32_t word[words];

  static __device__ __forceinline__ Packet load(const Q* p) {
    Packet packet;
    if constexpr (bytes == 4) {
      packet.word[0] = __ldg(reinterpret_cast<const uint32_t*>(p));
    } else if constexpr (bytes == 8) {
      const uint2 q = __ldg(reinterpret_cast<const uint2*>(p));
      packet.word[0] = q.x;
      packet.word[1] = q.y;
    } else {
      VAE_FAST_UNROLL
      for (int k = 0; k < words / 4; ++k) {
        const uint4 q = __ldg(reinterpret_cast<const uint4*>(p) + k);
        packet.word[4 * k] = q.x;
        packet.word[4 * k + 1] = q.y;
        packet.word[4 * k + 2] = q.z;
        packet.word[4 * k + 3] = q.w;
      }
    }
    return packet;
  }

  // By intrinsics: as plain assignments the compiler splits them into words.
  __device__ __forceinline__ void store(Q* p) const {
    if constexpr (bytes == 4) {
      *reinterpret_cast<uint32_t*>(p) = word[0];
    } else if constexpr (bytes == 8) {
      __stwb(reinterpret_cast<uint2*>(p), make_uint2(word[0], word[1]));
    } else {
      VAE_FAST_UNROLL
      for (int k = 0; k < words / 4; ++k)
        __stwb(reinterpret_cast<uint4*>(p) + k,
               make_uint4(word[4 * k], word[4 * k + 1], word[4 * k + 2], word[4 * k + 3]));
    }
  }
};

// What a byte means: x / 255 correctly rounded, as the sum of two exact products, or x itself.
struct ByteScale {
  float high, low;
  static __device__ __forceinline__ ByteScale of(DType dtype) {
    return dtype == DType::unit8 ? ByteScale{0x1.0101p-8f, 0x1.0101p-32f} : ByteScale{1.0f, 0.0f};
  }
  __device__ __forceinline__ float operator()(float x) const {
    return portable::multiply_add(x, low, x * high);
  }
};

// Element i of a packet.
template <int E>
__device__ __forceinline__ float value_of(const Packet<float, E>& packet, int i, ByteScale) {
  return portable::bits_float(static_cast<int32_t>(packet.word[i]));
}
template <int E>
__device__ __forceinline__ float value_of(const Packet<bfloat16, E>& packet, int i, ByteScale) {
  const uint32_t pair = packet.word[i / 2];
  return portable::bits_float(static_cast<int32_t>(i % 2 ? pair & 0xffff0000u : pair << 16));
}
template <int E>
__device__ __forceinline__ float value_of(const Packet<float16, E>& packet, int i, ByteScale) {
  return half_to_float(static_cast<uint16_t>(packet.word[i / 2] >> (16 * (i % 2))));
}
template <int E>
__device__ __forceinline__ float value_of(const Packet<byte, E>& packet, int i, ByteScale scale) {
  // Put into the mantissa of 2^23, which is cheaper than a conversion.
  const uint32_t bits = (packet.word[i / 4] >> (8 * (i % 4)) & 0xffu) | 0x4b000000u;
  return scale(portable::bits_float(static_cast<int32_t>(bits)) - 8388608.0f);
}
template <int E>
__device__ __forceinline__ double value_of(const Packet<double, E>& packet, int i, ByteScale) {
  const uint64_t bits = static_cast<uint64_t>(packet.word[2 * i + 1]) << 32 | packet.word[2 * i];
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}
template <class P, int E>
__device__ __forceinline__ typename Storage<P>::compute value_of(const Packet<P, E>& packet, int i) {
  return value_of(packet, i, ByteScale{});
}

// E values rounded to a packet.
template <int E>
__device__ __forceinline__ void fill(Packet<float, E>& packet, const float (&value)[E]) {
  VAE_FAST_UNROLL
  for (int i = 0; i < E; ++i) packet.word[i] = static_cast<uint32_t>(portable::float_bits(value[i]));
}
template <int E>
__device__ __forceinline__ void fill(Packet<bfloat16, E>& packet, const float (&value)[E]) {
  VAE_FAST_UNROLL
  for (int i = 0; i < E / 2; ++i)
    packet.word[i] =
        static_cast<uint32_t>(float_to_brain(value[2 * i + 1])) << 16 | float_to_brain(value[2 * i]);
}
template <int E>
__device__ __forceinline__ void fill(Packet<float16, E>& packet, const float (&value)[E]) {
  VAE_FAST_UNROLL
  for (int i = 0; i < E / 2; ++i)
    packet.word[i] =
        static_cast<uint32_t>(float_to_half(value[2 * i + 1])) << 16 | float_to_half(value[2 * i]);
}
template <int E>
__device__ __forceinline__ void fill(Packet<double, E>& packet, const double (&value)[E]) {
  VAE_FAST_UNROLL
  for (int i = 0; i < E; ++i) {
    uint64_t bits;
    memcpy(&bits, &value[i], sizeof bits);
    packet.word[2 * i] = static_cast<uint32_t>(bits);
    packet.word[2 * i + 1] = static_cast<uint32_t>(bits >> 32);
  }
}

template <class P, int E, class T>
__device__ __forceinline__ void store_packet(P* p, const T (&value)[E]) {
  Packet<P, E> packet;
  fill(packet, value);
  packet.store(p);
}

// Single elements of the kernel's own types.
__device__ __forceinline__ float value_of(float x) { return x; }
__device__ __forceinline__ double value_of(double x) { return x; }
__device__ __forceinline__ float value_of(bfloat16 x) { return portable::bfloat16_to_float(x.bits); }
__device__ __forceinline__ float value_of(float16 x) { return half_to_float(x.bits); }
__device__ __forceinline__ void set(float& x, float value) { x = value; }
__device__ __forceinline__ void set(double& x, double value) { x = value; }
__device__ __forceinline__ void set(bfloat16& x, float value) { x.bits = float_to_brain(value); }
__device__ __forceinline__ void set(float16& x, float value) { x.bits = float_to_half(value); }

// One element of an operand of any dtype.
template <class T>
__device__ __forceinline__ T element_of(const Operand& a, int64_t row, int64_t col) {
  const int64_t i = row * a.row_stride + col * a.col_stride;
  switch (a.dtype) {
    case DType::float32: return static_cast<T>(static_cast<const float*>(a.data)[i]);
    case DType::float64: return static_cast<T>(static_cast<const double*>(a.data)[i]);
    case DType::bfloat16: return portable::bfloat16_to_float(static_cast<const uint16_t*>(a.data)[i]);
    case DType::float16: return half_to_float(static_cast<const uint16_t*>(a.data)[i]);
    case DType::unit8: return portable::byte_to_unit(static_cast<T>(static_cast<const uint8_t*>(a.data)[i]));
    case DType::uint8: return static_cast<T>(static_cast<const uint8_t*>(a.data)[i]);
    case DType::int16: return static_cast<T>(static_cast<const int16_t*>(a.data)[i]);
    case DType::int32: return static_cast<T>(static_cast<const int32_t*>(a.data)[i]);
    case DType::int64: return static_cast<T>(static_cast<const int64_t*>(a.data)[i]);
    default: return static_cast<T>(static_cast<const uint8_t*>(a.data)[i] != 0);
  }
}

// The same of a floating-point operand, in double.
__device__ __forceinline__ double number_of(const Operand& a, int64_t row) {
  const int64_t i = row * a.row_stride;
  switch (a.dtype) {
    case DType::float64: return static_cast<const double*>(a.data)[i];
    case DType::bfloat16: return portable::bfloat16_to_float(static_cast<const uint16_t*>(a.data)[i]);
    case DType::float16: return half_to_float(static_cast<const uint16_t*>(a.data)[i]);
    default: return static_cast<const float*>(a.data)[i];
  }
}

// A factor that a tensor of one element holds, 1 if absent.
__device__ __forceinline__ double factor_of(const Operand& a) { return a.data ? number_of(a, 0) : 1.0; }

template <class T>
__device__ __forceinline__ T element_or(const Operand& a, int64_t row, int64_t col, T absent) {
  return a.data ? element_of<T>(a, row, col) : absent;
}

template <class T>
__device__ __forceinline__ void set_element(const Operand& a, int64_t row, int64_t col, T value) {
  const int64_t i = row * a.row_stride + col * a.col_stride;
  switch (a.dtype) {
    case DType::float64: static_cast<double*>(a.data)[i] = value; break;
    case DType::bfloat16:
      static_cast<uint16_t*>(a.data)[i] = float_to_brain(static_cast<float>(value));
      break;
    case DType::float16: static_cast<uint16_t*>(a.data)[i] = float_to_half(static_cast<float>(value)); break;
    default: static_cast<float*>(a.data)[i] = static_cast<float>(value); break;
  }
}

}  // namespace cuda
}  // namespace vae_fast
