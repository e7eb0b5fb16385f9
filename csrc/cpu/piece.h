// Pieces: runs of at most 1024 elements that every kernel works on, so that operands of any dtype become
// float (or double) arrays that stay in the first-level cache, and the arithmetic is written once.
#pragma once

#include "../math/convert.h"
#include "kernels.h"

namespace vae_fast {
namespace VAE_FAST_ISA {

using namespace cpu;  // the argument structs

constexpr int64_t piece_length = 1024;

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::float32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::float64;
};

inline int64_t minimum(int64_t a, int64_t b) { return a < b ? a : b; }

template <class Q, class T>
inline void convert(const Operand& a, int64_t offset, int64_t n, T* __restrict out) {
  const Q* __restrict p = static_cast<const Q*>(a.data) + offset;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<T>(p[i]);
}

// Elements [col, col + n) of a row as T: the operand's own memory where it already is T, else converted
// into `buffer`.
template <class T>
inline const T* load(const Operand& a, int64_t row, int64_t col, int64_t n, T* buffer) {
  const int64_t offset = row * a.row_stride + col * a.col_stride;
  const int64_t count = a.col_stride ? n : 1;
  const T* result = buffer;
  switch (a.dtype) {
    case DType::float32:
    case DType::float64:
      if (a.dtype == DTypeOf<T>::value) {
        result = static_cast<const T*>(a.data) + offset;
      } else if (a.dtype == DType::float32) {
        convert<float>(a, offset, count, buffer);
      } else {
        convert<double>(a, offset, count, buffer);
      }
      break;
    case DType::bfloat16: {
      const uint16_t* __restrict p = static_cast<const uint16_t*>(a.data) + offset;
      T* __restrict out = buffer;
      for (int64_t i = 0; i < count; ++i) out[i] = static_cast<T>(bfloat16_to_float(p[i]));
      break;
    }
    case DType::float16: {
      const uint16_t* __restrict p = static_cast<const uint16_t*>(a.data) + offset;
      T* __restrict out = buffer;
      for (int64_t i = 0; i < count; ++i) out[i] = static_cast<T>(float16_to_float(p[i]));
      break;
    }
    case DType::uint8: convert<uint8_t>(a, offset, count, buffer); break;
    case DType::int16: convert<int16_t>(a, offset, count, buffer); break;
    case DType::int32: convert<int32_t>(a, offset, count, buffer); break;
    case DType::int64: convert<int64_t>(a, offset, count, buffer); break;
    case DType::unit8: {  // correctly rounded
      const uint8_t* __restrict p = static_cast<const uint8_t*>(a.data) + offset;
      T* __restrict out = buffer;
      for (int64_t i = 0; i < count; ++i) out[i] = byte_to_unit(static_cast<T>(p[i]));
      break;
    }
    case DType::boolean: {
      const uint8_t* __restrict p = static_cast<const uint8_t*>(a.data) + offset;
      T* __restrict out = buffer;
      for (int64_t i = 0; i < count; ++i) out[i] = static_cast<T>(p[i] != 0);
      break;
    }
  }
  if (!a.col_stride) {
    const T value = *result;
    for (int64_t i = 0; i < n; ++i) buffer[i] = value;
    result = buffer;
  }
  return result;
}

// Where a kernel writes n results: the operand's own memory, or a buffer that `store` converts.
template <class T>
inline T* destination(const Operand& a, int64_t row, int64_t col, T* buffer) {
  if (a.dtype != DTypeOf<T>::value) return buffer;
  return static_cast<T*>(a.data) + row * a.row_stride + col;
}

template <class T>
inline void store(const Operand& a, int64_t row, int64_t col, int64_t n, const T* __restrict buffer) {
  const int64_t offset = row * a.row_stride + col;
  if (a.dtype == DType::bfloat16) {
    uint16_t* __restrict p = static_cast<uint16_t*>(a.data) + offset;
    for (int64_t i = 0; i < n; ++i) p[i] = float_to_bfloat16(static_cast<float>(buffer[i]));
  } else if (a.dtype == DType::float16) {
    uint16_t* __restrict p = static_cast<uint16_t*>(a.data) + offset;
    for (int64_t i = 0; i < n; ++i) p[i] = float_to_float16(static_cast<float>(buffer[i]));
  } else if (a.dtype != DTypeOf<T>::value) {
    if (a.dtype == DType::float32) {
      float* __restrict p = static_cast<float*>(a.data) + offset;
      for (int64_t i = 0; i < n; ++i) p[i] = static_cast<float>(buffer[i]);
    } else {
      double* __restrict p = static_cast<double*>(a.data) + offset;
      for (int64_t i = 0; i < n; ++i) p[i] = static_cast<double>(buffer[i]);
    }
  }
}

// Copies n results to their operand, of whatever dtype.
template <class T>
inline void write(const Operand& a, int64_t row, int64_t col, int64_t n, const T* __restrict buffer) {
  T* __restrict out = destination<T>(a, row, col, nullptr);
  if (out)
    for (int64_t i = 0; i < n; ++i) out[i] = buffer[i];
  else
    store(a, row, col, n, buffer);
}

// Sum in an order fixed by n: 64 interleaved lanes, then pairwise.
template <class T>
inline double sum(const T* __restrict a, int64_t n) {
  constexpr int64_t lanes = 64;
  double total = 0;
  int64_t i = 0;
  if (n >= lanes) {
    T lane[lanes];
    for (int64_t k = 0; k < lanes; ++k) lane[k] = a[k];
    for (i = lanes; i + lanes <= n; i += lanes)
#pragma omp simd
      for (int64_t k = 0; k < lanes; ++k) lane[k] += a[i + k];
    for (int64_t width = lanes / 2; width > 0; width /= 2)
      for (int64_t k = 0; k < width; ++k) lane[k] += lane[k + width];
    total = lane[0];
  }
  T rest = 0;
#pragma omp simd reduction(+ : rest)
  for (int64_t k = i; k < n; ++k) rest += a[k];
  return total + rest;
}

// Calls body(row, col, n, unit) for the pieces of the units [begin, end). Where rows lie behind one
// another in every operand (`dense`), a piece may run over many short rows; sums are then taken by
// `add_sums`, row by row. No piece crosses a multiple of `period` rows.
template <class Body>
inline void for_each_piece(const Split& split, int64_t period, bool dense, int64_t begin, int64_t end,
                           Body&& body) {
  if (split.cols < 1) return;
  if (split.per_row > 1 || !dense || split.cols >= piece_length) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t row = unit / split.per_row;
      const int64_t first = (unit - row * split.per_row) * split.chunk;
      const int64_t last = minimum(first + split.chunk, split.cols);
      for (int64_t col = first; col < last; col += piece_length)
        body(unit, row, col, minimum(piece_length, last - col));
    }
    return;
  }
  const int64_t rows_per_piece = piece_length / split.cols;
  for (int64_t row = begin; row < end;) {
    const int64_t boundary = (row / period + 1) * period;
    const int64_t rows = minimum(minimum(rows_per_piece, end - row), boundary - row);
    body(row, row, int64_t(0), rows * split.cols);
    row += rows;
  }
}

// Adds the sums of a piece to the partial sums of its units.
template <class T>
inline void add_sums(const Split& split, int64_t unit, int64_t n, const T* terms, double* sums) {
  if (split.cols >= piece_length || n <= split.cols) {
    sums[unit] += sum(terms, n);
    return;
  }
  for (int64_t i = 0; i < n; i += split.cols) sums[unit++] += sum(terms + i, split.cols);
}

template <class T>
inline void multiply(T* __restrict a, const T* __restrict b, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) a[i] *= b[i];
}

// Dense: rows lie behind one another, so that a piece may run over several of them.
inline bool is_dense(const Operand& a, int64_t cols) {
  return !a.data || (a.col_stride == 1 && a.row_stride == cols);
}

}  // namespace VAE_FAST_ISA
}  // namespace vae_fast
