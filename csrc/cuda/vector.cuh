// Packets: neighbouring elements of any dtype that a thread moves at once, 16 bytes where the dtype is
// the kernel's own, and single elements for the ends of rows and for operands that are not aligned.
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

// Storage types without arithmetic of their own.
struct bfloat16 {
  uint16_t bits;
};
struct float16 {
  uint16_t bits;
};

// The arithmetic's type and the dtype of a storage type.
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

__host__ __device__ constexpr int size_of(DType dtype) {
  return dtype == DType::float64                               ? 8
         : dtype == DType::float32                             ? 4
         : dtype == DType::uint8 || dtype == DType::boolean ? 1
                                                               : 2;
}

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

// A byte of a word as a float: put into the mantissa of 2^23, which is cheaper than a conversion.
__device__ __forceinline__ float byte_of(uint32_t word, int index) {
  const uint32_t bits = (word >> (8 * index) & 0xffu) | 0x4b000000u;
  return portable::bits_float(static_cast<int32_t>(bits)) - 8388608.0f;
}

__device__ __forceinline__ double double_of(uint32_t low, uint32_t high) {
  const uint64_t bits = static_cast<uint64_t>(high) << 32 | low;
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// E elements as they lie in memory, in registers. float64 among floats is moved element by element, so
// a packet never needs more words than elements, or twice as many where the arithmetic is double.
template <class T, int E>
struct Raw {
  static constexpr int words = E * static_cast<int>(sizeof(T)) / 4;
  uint32_t word[words];
};

// Whether an operand of this dtype can be moved in packets.
template <class T>
__device__ __forceinline__ bool has_packets(DType dtype) {
  return sizeof(T) == 8 || dtype != DType::float64;
}

template <class T, int E>
__device__ __forceinline__ Raw<T, E> load_raw(const char* p, int bytes) {
  Raw<T, E> raw;
  if (bytes >= 16) {
    VAE_FAST_UNROLL
    for (int k = 0; k < Raw<T, E>::words / 4; ++k) {
      if (16 * k < bytes) {
        const uint4 q = __ldg(reinterpret_cast<const uint4*>(p) + k);
        raw.word[4 * k] = q.x;
        raw.word[4 * k + 1] = q.y;
        raw.word[4 * k + 2] = q.z;
        raw.word[4 * k + 3] = q.w;
      }
    }
  } else if (bytes == 8) {
    const uint2 q = __ldg(reinterpret_cast<const uint2*>(p));
    raw.word[0] = q.x;
    raw.word[1] = q.y;
  } else if (bytes == 4) {
    raw.word[0] = __ldg(reinterpret_cast<const uint32_t*>(p));
  } else {
    raw.word[0] = __ldg(reinterpret_cast<const uint16_t*>(p));
  }
  return raw;
}

template <class T, int E>
__device__ __forceinline__ void unpack(const Raw<T, E>& raw, DType dtype, T (&out)[E]) {
  if (dtype == DType::float32) {
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i) out[i] = portable::bits_float(static_cast<int32_t>(raw.word[i]));
  } else if (dtype == DType::bfloat16) {
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i)
      out[i] = portable::bits_float(static_cast<int32_t>(i % 2 ? raw.word[i / 2] & 0xffff0000u
                                                               : raw.word[i / 2] << 16));
  } else if (dtype == DType::float16) {
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i)
      out[i] = half_to_float(static_cast<uint16_t>(raw.word[i / 2] >> (16 * (i % 2))));
  } else if (dtype == DType::uint8) {
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i) out[i] = portable::byte_to_unit(static_cast<T>(byte_of(raw.word[i / 4], i % 4)));
  } else if (dtype == DType::boolean) {
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i) out[i] = byte_of(raw.word[i / 4], i % 4);
  } else if constexpr (sizeof(T) == 8) {
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i) out[i] = double_of(raw.word[2 * i], raw.word[2 * i + 1]);
  }
}

template <class T>
__device__ __forceinline__ T load_element(const char* row, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::float32: return static_cast<T>(reinterpret_cast<const float*>(row)[i]);
    case DType::float64: return static_cast<T>(reinterpret_cast<const double*>(row)[i]);
    case DType::bfloat16: return portable::bfloat16_to_float(reinterpret_cast<const uint16_t*>(row)[i]);
    case DType::float16: return half_to_float(reinterpret_cast<const uint16_t*>(row)[i]);
    case DType::uint8: return portable::byte_to_unit(static_cast<T>(reinterpret_cast<const uint8_t*>(row)[i]));
    default: return static_cast<T>(reinterpret_cast<const uint8_t*>(row)[i] != 0);
  }
}

template <class T>
__device__ __forceinline__ void store_element(char* row, DType dtype, int64_t i, T value) {
  switch (dtype) {
    case DType::float64: reinterpret_cast<double*>(row)[i] = value; break;
    case DType::bfloat16:
      reinterpret_cast<uint16_t*>(row)[i] = float_to_brain(static_cast<float>(value));
      break;
    case DType::float16:
      reinterpret_cast<uint16_t*>(row)[i] = float_to_half(static_cast<float>(value));
      break;
    default: reinterpret_cast<float*>(row)[i] = static_cast<float>(value); break;
  }
}

__device__ __forceinline__ uint32_t pair_of(uint16_t low, uint16_t high) {
  return static_cast<uint32_t>(high) << 16 | low;
}

template <int Words>
__device__ __forceinline__ void store_words(char* p, const uint32_t (&word)[Words]) {
  if constexpr (Words % 4 == 0) {
    VAE_FAST_UNROLL
    for (int k = 0; k < Words / 4; ++k)
      reinterpret_cast<uint4*>(p)[k] =
          make_uint4(word[4 * k], word[4 * k + 1], word[4 * k + 2], word[4 * k + 3]);
  } else if constexpr (Words == 2) {
    *reinterpret_cast<uint2*>(p) = make_uint2(word[0], word[1]);
  } else {
    static_assert(Words == 1);
    *reinterpret_cast<uint32_t*>(p) = word[0];
  }
}

template <class T, int E>
__device__ __forceinline__ void store_packet(char* p, DType dtype, const T (&value)[E]) {
  if (dtype == DType::float64) {
    if constexpr (sizeof(T) == 8) {
      uint32_t word[2 * E];
      memcpy(word, value, sizeof word);
      store_words(p, word);
    }
  } else if (dtype == DType::float32) {
    uint32_t word[E];
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i)
      word[i] = static_cast<uint32_t>(portable::float_bits(static_cast<float>(value[i])));
    store_words(p, word);
  } else {
    uint32_t word[E / 2];
    VAE_FAST_UNROLL
    for (int i = 0; i < E / 2; ++i) {
      const float low = static_cast<float>(value[2 * i]), high = static_cast<float>(value[2 * i + 1]);
      word[i] = dtype == DType::bfloat16 ? pair_of(float_to_brain(low), float_to_brain(high))
                                         : pair_of(float_to_half(low), float_to_half(high));
    }
    store_words(p, word);
  }
}

// One row of an input. Absent inputs and inputs with a column stride of 0 are constant along it.
template <class T, int E>
struct Source {
  const char* row;
  T constant;
  DType dtype;

  __device__ __forceinline__ Source(const Operand& a, T value_if_absent)
      : row(nullptr), constant(value_if_absent), dtype(a.dtype) {}

  __device__ __forceinline__ void set_row(const Operand& a, int64_t index) {
    if (!a.data) return;
    const char* first = static_cast<const char*>(a.data) + index * a.row_stride * size_of(a.dtype);
    if (a.col_stride)
      row = first;
    else
      constant = load_element<T>(first, a.dtype, 0);
  }

  // Whether packets that start `shift` elements before the row are aligned.
  __device__ __forceinline__ bool aligned(int shift) const {
    if (!row) return true;
    const int bytes = E * size_of(dtype);
    const uintptr_t start = reinterpret_cast<uintptr_t>(row) - static_cast<uintptr_t>(shift * size_of(dtype));
    return has_packets<T>(dtype) && start % static_cast<uintptr_t>(bytes < 16 ? bytes : 16) == 0;
  }

  __device__ __forceinline__ Raw<T, E> load(int64_t i) const {
    return row ? load_raw<T, E>(row + i * size_of(dtype), E * size_of(dtype)) : Raw<T, E>{};
  }

  __device__ __forceinline__ void values(const Raw<T, E>& raw, T (&out)[E]) const {
    if (row) {
      unpack<T, E>(raw, dtype, out);
    } else {
      VAE_FAST_UNROLL
      for (int i = 0; i < E; ++i) out[i] = constant;
    }
  }

  __device__ __forceinline__ void values(int64_t i, T (&out)[E]) const { values(load(i), out); }
  __device__ __forceinline__ T element(int64_t i) const {
    return row ? load_element<T>(row, dtype, i) : constant;
  }
};

// One row of an output, nowhere if absent.
template <class T, int E>
struct Sink {
  char* row;
  DType dtype;

  __device__ __forceinline__ explicit Sink(const Operand& a) : row(nullptr), dtype(a.dtype) {}

  __device__ __forceinline__ void set_row(const Operand& a, int64_t index) {
    if (a.data) row = static_cast<char*>(a.data) + index * a.row_stride * size_of(a.dtype);
  }

  __device__ __forceinline__ bool aligned(int shift) const {
    const int bytes = E * size_of(dtype);
    const uintptr_t start = reinterpret_cast<uintptr_t>(row) - static_cast<uintptr_t>(shift * size_of(dtype));
    return !row || (has_packets<T>(dtype) && start % static_cast<uintptr_t>(bytes < 16 ? bytes : 16) == 0);
  }

  __device__ __forceinline__ void packet(int64_t i, const T (&value)[E]) const {
    if (row) store_packet<T, E>(row + i * size_of(dtype), dtype, value);
  }

  __device__ __forceinline__ void element(int64_t i, T value) const {
    if (row) store_element<T>(row, dtype, i, value);
  }
};

// One element of an operand.
template <class T>
__device__ __forceinline__ T element_of(const Operand& a, int64_t row, int64_t col) {
  const char* first = static_cast<const char*>(a.data) + row * a.row_stride * size_of(a.dtype);
  return load_element<T>(first, a.dtype, col * a.col_stride);
}

template <class T>
__device__ __forceinline__ void set_element(const Operand& a, int64_t row, int64_t col, T value) {
  char* first = static_cast<char*>(a.data) + row * a.row_stride * size_of(a.dtype);
  store_element<T>(first, a.dtype, col, value);
}

}  // namespace cuda
}  // namespace vae_fast
