// Row kernel of every likelihood: reads parameters, target and weight once; writes row sums, elements
// and gradients in the same pass. For a float32 scalar loss with its gradient: 12 bytes per element.
//
// What a shared parameter alone decides is computed once for all of its elements. Rows that share parameters
// of their columns are taken in groups; a group sums the gradients of its columns.
#pragma once

#include <utility>

#include "../math/likelihood.h"
#include "piece.h"

namespace vae_fast {
namespace VAE_FAST_ISA {

// Streams of one piece, all as T.
template <class T>
struct NllStreams {
  const T* param[most_parameters];
  const T* derived[1];
  const T* target;
  T* value;
  T* grad[most_parameters];
};

// Element i, as one inlined call: GCC leaves a simd loop scalar that declares arrays or loops over
// parameters.
template <class T, class F, bool hoisted, bool with_value, bool with_grad, size_t... K>
VAE_FAST_HD void element(const NllStreams<T>& s, int64_t i, T shift, T scale, std::index_sequence<K...>) {
  const T p[] = {s.param[K][i]...};
  T d[1] = {T(0)};
  if (hoisted)
    d[0] = s.derived[0][i];
  else
    F::derive(p[F::parameters - 1], d);
  const Nll<T, F::parameters> e = F::at(p, d, s.target[i]);
  if (with_value) s.value[i] = e.value + shift;
  if (with_grad) ((s.grad[K][i] = e.grad[K] * scale), ...);
}

template <class T, class F, bool hoisted, bool with_value, bool with_grad>
inline void evaluate(const NllStreams<T> streams, int64_t n, T shift, T scale) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i)
    element<T, F, hoisted, with_value, with_grad>(streams, i, shift, scale,
                                                  std::make_index_sequence<F::parameters>());
}

template <class T>
inline void multiply_or_mask(const Operand& weight, const T* __restrict w, T* __restrict values, int64_t n) {
  if (weight.dtype == DType::boolean) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) values[i] = w[i] != T(0) ? values[i] : T(0);
  } else {
    multiply(values, w, n);
  }
}

template <class T>
inline void add(T* __restrict sums, const T* __restrict terms, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) sums[i] += terms[i];
}

// The pieces of a range of units. Buffers of shared parameters are filled once and stay.
template <class T, class F>
class NllPieces {
 public:
  static constexpr int P = F::parameters;

  explicit NllPieces(const NllArgs& args) : args_(args) {
    with_value_ = args.value_sums || args.values.data;
    for (int k = 0; k < P; ++k)
      with_grad_ = with_grad_ || args.grad[k].data || args.grad_columns[k].data || args.grad_sums[k];
    hoisted_ = F::derived > 0 && args.binding[P - 1] != Binding::element;
    for (int k = 0; k < P; ++k)
      if (args.binding[k] == Binding::one) bind(k, 0, 0, piece_length);
  }

  // Elements [col, col + n) of the row; n may run over several dense rows.
  void operator()(int64_t unit, int64_t row, int64_t col, int64_t n) {
    for (int k = 0; k < P; ++k)
      if (args_.binding[k] == Binding::column || args_.binding[k] == Binding::sample) bind(k, row, col, n);
    piece(unit, row, col, n);
  }

  // Columns [col, col + n) of the rows [row, last), whose sums belong to every `step`th unit.
  void columns(int64_t unit, int64_t step, int64_t row, int64_t last, int64_t col, int64_t n) {
    for (int k = 0; k < P; ++k) {
      if (args_.binding[k] != Binding::column) continue;
      bind(k, row, col, n);
      for (int64_t i = 0; i < n; ++i) column_sums_[k][i] = T(0);
    }
    const int64_t group = row / args_.split.group;
    for (; row < last; ++row, unit += step) {
      for (int k = 0; k < P; ++k)
        if (args_.binding[k] == Binding::sample) bind(k, row, col, n);
      piece(unit, row, col, n);
    }
    for (int k = 0; k < P; ++k)
      if (args_.grad_columns[k].data) write(args_.grad_columns[k], group, col, n, column_sums_[k]);
  }

 private:
  // Loads a shared parameter for n elements, and derives what it alone decides.
  void bind(int k, int64_t row, int64_t col, int64_t n) {
    const int64_t source = args_.binding[k] == Binding::sample ? row % args_.batch : 0;
    bound_[k] = load(args_.param[k], source, col, n, shared_[k]);
    if (!hoisted_ || k != P - 1) return;
    if (args_.binding[k] == Binding::column) {
      const T* __restrict p = bound_[k];
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) {
        T d[1] = {T(0)};
        F::derive(p[i], d);
        derived_[i] = d[0];
      }
    } else {
      T d[1] = {T(0)};
      F::derive(bound_[k][0], d);
      for (int64_t i = 0; i < n; ++i) derived_[i] = d[0];
    }
  }

  void piece(int64_t unit, int64_t row, int64_t col, int64_t n) {
    const int64_t target_row = row % args_.batch;
    NllStreams<T> s{};
    s.derived[0] = derived_;
    s.target = load(args_.target, target_row, col, n, target_);
    s.value = args_.values.data ? destination(args_.values, row, col, value_) : value_;
    for (int k = 0; k < P; ++k) {
      s.param[k] =
          args_.binding[k] == Binding::element ? load(args_.param[k], row, col, n, element_[k]) : bound_[k];
      s.grad[k] = args_.grad[k].data ? destination(args_.grad[k], row, col, grad_[k]) : grad_[k];
    }
    if (hoisted_)
      evaluate_as<true>(s, n);
    else
      evaluate_as<false>(s, n);

    if (args_.weight.data) {
      const T* weight = load(args_.weight, target_row, col, n, factor_);
      if (with_value_) multiply_or_mask(args_.weight, weight, s.value, n);
      for (int k = 0; with_grad_ && k < P; ++k) multiply_or_mask(args_.weight, weight, s.grad[k], n);
    }
    if (with_grad_ && args_.grad_out.data) {
      const T* factor = load(args_.grad_out, row, col, n, factor_);
      for (int k = 0; k < P; ++k) multiply(s.grad[k], factor, n);
    }
    if (args_.value_sums) add_sums(args_.split, unit, n, s.value, args_.value_sums);
    if (args_.values.data) store(args_.values, row, col, n, s.value);
    for (int k = 0; k < P; ++k) {
      if (args_.grad[k].data) store(args_.grad[k], row, col, n, s.grad[k]);
      if (args_.grad_columns[k].data) add(column_sums_[k], s.grad[k], n);
      if (args_.grad_sums[k]) add_sums(args_.split, unit, n, s.grad[k], args_.grad_sums[k]);
    }
  }

  template <bool hoisted>
  void evaluate_as(const NllStreams<T>& s, int64_t n) const {
    const T shift = static_cast<T>(args_.constants[0]), scale = static_cast<T>(args_.grad_scale);
    if (with_value_ && with_grad_)
      evaluate<T, F, hoisted, true, true>(s, n, shift, scale);
    else if (with_value_)
      evaluate<T, F, hoisted, true, false>(s, n, shift, scale);
    else if (with_grad_)
      evaluate<T, F, hoisted, false, true>(s, n, shift, scale);
  }

  const NllArgs& args_;
  bool with_value_ = false, with_grad_ = false, hoisted_ = false;
  const T* bound_[P] = {};
  alignas(64) T shared_[P][piece_length];
  alignas(64) T element_[P][piece_length];
  alignas(64) T derived_[piece_length];
  alignas(64) T column_sums_[P][piece_length];
  alignas(64) T target_[piece_length], factor_[piece_length], value_[piece_length];
  alignas(64) T grad_[P][piece_length];
};

inline void clear_sums(const NllArgs& args, int64_t unit) {
  if (args.value_sums) args.value_sums[unit] = 0;
  for (int k = 0; k < args.parameters; ++k)
    if (args.grad_sums[k]) args.grad_sums[k][unit] = 0;
}

template <class T, class F>
inline void nll_of(const NllArgs& args, int64_t begin, int64_t end) {
  const Split& split = args.split;
  const int64_t cols = split.cols;
  NllPieces<T, F> pieces(args);
  if (split.group > 1) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t group = unit / split.per_row, chunk = unit - group * split.per_row;
      const int64_t row = group * split.group, last = minimum(row + split.group, split.rows);
      const int64_t stop = minimum((chunk + 1) * split.chunk, cols);
      for (int64_t r = row; r < last; ++r) clear_sums(args, r * split.per_row + chunk);
      for (int64_t col = chunk * split.chunk; col < stop; col += piece_length)
        pieces.columns(row * split.per_row + chunk, split.per_row, row, last, col,
                       minimum(piece_length, stop - col));
    }
    return;
  }
  bool dense = is_dense(args.target, cols) && is_dense(args.weight, cols) && is_dense(args.grad_out, cols) &&
               is_dense(args.values, cols);
  for (int k = 0; k < F::parameters; ++k) {
    const bool element = args.binding[k] == Binding::element;
    dense = dense && (args.binding[k] == Binding::one ||
                      (element && is_dense(args.param[k], cols) && is_dense(args.grad[k], cols)));
  }
  for (int64_t unit = begin; unit < end; ++unit) clear_sums(args, unit);
  for_each_piece(split, args.batch, dense, begin, end, pieces);
}

template <class T>
inline void nll_typed(const NllArgs& args, int64_t begin, int64_t end) {
  const bool alone = args.parameters == 1;
  switch (args.likelihood) {
    case Likelihood::bernoulli: return nll_of<T, Bernoulli<T>>(args, begin, end);
    case Likelihood::gaussian:
      return alone ? nll_of<T, GaussianUnit<T>>(args, begin, end) : nll_of<T, Gaussian<T>>(args, begin, end);
    case Likelihood::laplace:
      return alone ? nll_of<T, LaplaceUnit<T>>(args, begin, end) : nll_of<T, Laplace<T>>(args, begin, end);
    case Likelihood::poisson:
      return args.constants[1] != 0 ? nll_of<T, Poisson<T, true>>(args, begin, end)
                                    : nll_of<T, Poisson<T, false>>(args, begin, end);
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
