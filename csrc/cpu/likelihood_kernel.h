// Row kernel of every likelihood: reads parameters, target and weight once; writes row sums, elements
// and gradients in the same pass. For a float32 scalar loss with its gradient: 12 bytes per element.
#pragma once

#include "../math/likelihood.h"
#include "piece.h"

namespace vae_fast {
namespace VAE_FAST_ISA {

template <class T, class F, bool with_value, bool with_grad>
inline void evaluate(const F& f, const T* __restrict param, const T* __restrict logvar,
                     const T* __restrict target, int64_t n, T constant, T scale, T* __restrict value,
                     T* __restrict grad_param, T* __restrict grad_logvar) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const ElementNll<T> e = f(param[i], logvar[i], target[i]);
    if (with_value) value[i] = e.value + constant;
    if (with_grad) grad_param[i] = e.dparam * scale;
    if (with_grad && F::has_logvar) grad_logvar[i] = e.dlogvar * scale;
  }
}

template <class T, class F, bool with_value, bool with_grad>
struct NllBody {
  const NllArgs& args;
  F f;
  bool element_logvar;

  void operator()(int64_t unit, int64_t row, int64_t col, int64_t n) const {
    alignas(64) T param_buffer[piece_length], logvar_buffer[piece_length];
    alignas(64) T target_buffer[piece_length], factor_buffer[piece_length];
    alignas(64) T value_buffer[piece_length];
    alignas(64) T grad_buffer[piece_length], grad_logvar_buffer[piece_length];
    const int64_t target_row = row % args.batch;
    const T* param = load(args.param, row, col, n, param_buffer);
    const T* target = load(args.target, target_row, col, n, target_buffer);
    const T* logvar = element_logvar ? load(args.logvar, row, col, n, logvar_buffer) : param;
    T* value = args.values.data ? destination(args.values, row, col, value_buffer) : value_buffer;
    const bool store_param = with_grad && args.grad_param.data;
    const bool store_logvar = with_grad && args.grad_logvar.data && element_logvar;
    T* grad = store_param ? destination(args.grad_param, row, col, grad_buffer) : grad_buffer;
    T* grad_logvar =
        store_logvar ? destination(args.grad_logvar, row, col, grad_logvar_buffer) : grad_logvar_buffer;

    evaluate<T, F, with_value, with_grad>(f, param, logvar, target, n, static_cast<T>(args.constant),
                                          static_cast<T>(args.grad_scale), value, grad, grad_logvar);
    if (args.weight.data) {
      const T* weight = load(args.weight, target_row, col, n, factor_buffer);
      if (with_value) multiply(value, weight, n);
      if (with_grad) multiply(grad, weight, n);
      if (with_grad && F::has_logvar) multiply(grad_logvar, weight, n);
    }
    if (with_grad && args.grad_out.data) {
      const T* factor = load(args.grad_out, row, col, n, factor_buffer);
      multiply(grad, factor, n);
      if (F::has_logvar) multiply(grad_logvar, factor, n);
    }
    if (with_value && args.value_sums) add_sums(args.split, unit, n, value, args.value_sums);
    if (with_grad && F::has_logvar && args.logvar_sums)
      add_sums(args.split, unit, n, grad_logvar, args.logvar_sums);
    if (store_param) store(args.grad_param, row, col, n, grad);
    if (store_logvar) store(args.grad_logvar, row, col, n, grad_logvar);
  }
};

template <class T, class F>
inline void nll_of(const NllArgs& args, const F& f, int64_t begin, int64_t end) {
  const int64_t cols = args.split.cols;
  const bool element_logvar = F::has_logvar && !args.shared_logvar;
  const bool dense = is_dense(args.param, cols) && is_dense(args.target, cols) &&
                     is_dense(args.weight, cols) && is_dense(args.grad_out, cols) &&
                     is_dense(args.values, cols) && is_dense(args.grad_param, cols) &&
                     (!element_logvar || (is_dense(args.logvar, cols) && is_dense(args.grad_logvar, cols)));
  const bool with_value = args.value_sums || args.values.data;
  const bool with_grad = args.grad_param.data || args.grad_logvar.data || args.logvar_sums;
  for (int64_t unit = begin; unit < end; ++unit) {
    if (args.value_sums) args.value_sums[unit] = 0;
    if (args.logvar_sums) args.logvar_sums[unit] = 0;
  }
  if (with_value && with_grad)
    for_each_piece(args.split, args.batch, dense, begin, end,
                   NllBody<T, F, true, true>{args, f, element_logvar});
  else if (with_value)
    for_each_piece(args.split, args.batch, dense, begin, end,
                   NllBody<T, F, true, false>{args, f, element_logvar});
  else if (with_grad)
    for_each_piece(args.split, args.batch, dense, begin, end,
                   NllBody<T, F, false, true>{args, f, element_logvar});
}

template <class T>
inline void nll_typed(const NllArgs& args, int64_t begin, int64_t end) {
  if (args.likelihood == Likelihood::bernoulli) {
    nll_of<T>(args, Bernoulli<T>{}, begin, end);
  } else if (!args.logvar.data) {
    nll_of<T>(args, GaussianUnit<T>{}, begin, end);
  } else if (args.shared_logvar) {
    T buffer[1] = {T(0)};
    const T logvar = *load(args.logvar, 0, 0, 1, buffer);
    nll_of<T>(args, GaussianShared<T>{logvar, exponential(-logvar)}, begin, end);
  } else {
    nll_of<T>(args, GaussianElement<T>{}, begin, end);
  }
}

inline void nll(const NllArgs& args, int64_t begin, int64_t end) {
  if (args.is_double)
    nll_typed<double>(args, begin, end);
  else
    nll_typed<float>(args, begin, end);
}

}  // namespace VAE_FAST_ISA
}  // namespace vae_fast
