// Before and after the loss of means that are shares of a size, size * softmax(logits): the logarithm of each
// row's sum of exponentials, and what the gradient of the logits is less than that of the log-means. In
// between, the loss adds one number to the logits of a row; no array of means, shares or their gradients is
// made.
#pragma once

#include "../math/elementary.h"
#include "piece.h"

namespace vae_fast {
namespace VAE_FAST_ISA {

template <class T>
inline T largest(const T* __restrict x, int64_t n) {
  T result = -HUGE_VAL;
#pragma omp simd reduction(max : result)
  for (int64_t i = 0; i < n; ++i) result = x[i] > result ? x[i] : result;
  return result;
}

template <class T>
inline void softmax_shifts_typed(const SoftmaxArgs& args, int64_t begin, int64_t end) {
  alignas(64) T buffer[piece_length], powers[piece_length];
  for (int64_t row = begin; row < end; ++row) {
    T most = -HUGE_VAL;
    for (int64_t col = 0; col < args.cols; col += piece_length) {
      const int64_t n = minimum(piece_length, args.cols - col);
      const T in_piece = largest(load(args.logits, row, col, n, buffer), n);
      most = in_piece > most ? in_piece : most;
    }
    double total = 0;
    for (int64_t col = 0; col < args.cols; col += piece_length) {
      const int64_t n = minimum(piece_length, args.cols - col);
      const T* __restrict x = load(args.logits, row, col, n, buffer);
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) powers[i] = exponential_of_minus_magnitude(x[i] - most);
      total += sum(powers, n);
    }
    const double log_sum = static_cast<double>(most) + log(total);
    T log_size;
    const double size = static_cast<double>(load(args.log_sizes, row % args.batch, 0, 1, &log_size)[0]);
    args.log_sums[row] = log_sum;
    args.shifts[row] = size - log_sum;
  }
}

// grad - share * (the row's sum of grad).
template <class T>
inline void softmax_gradient_typed(const SoftmaxArgs& args, int64_t begin, int64_t end) {
  alignas(64) T buffer[piece_length], out[piece_length], of_means[piece_length];
  for (int64_t row = begin; row < end; ++row) {
    double total = 0;
    for (int64_t part = 0; part < args.per_row; ++part) total += args.grad_sums[row * args.per_row + part];
    const T weight = static_cast<T>(total), log_sum = static_cast<T>(args.log_sums[row]);
    for (int64_t col = 0; col < args.cols; col += piece_length) {
      const int64_t n = minimum(piece_length, args.cols - col);
      const T* __restrict x = load(args.logits, row, col, n, buffer);
      const T* __restrict d = load(args.grad_means, row, col, n, of_means);
#pragma omp simd
      for (int64_t i = 0; i < n; ++i)
        out[i] = multiply_add(-weight, exponential_of_minus_magnitude(x[i] - log_sum), d[i]);
      write(args.grad_logits, row, col, n, out);
    }
  }
}

inline void softmax_shifts(const SoftmaxArgs& args, int64_t begin, int64_t end) {
  if (args.is_double)
    softmax_shifts_typed<double>(args, begin, end);
  else
    softmax_shifts_typed<float>(args, begin, end);
}

inline void softmax_gradient(const SoftmaxArgs& args, int64_t begin, int64_t end) {
  if (args.is_double)
    softmax_gradient_typed<double>(args, begin, end);
  else
    softmax_gradient_typed<float>(args, begin, end);
}

}  // namespace VAE_FAST_ISA
}  // namespace vae_fast
