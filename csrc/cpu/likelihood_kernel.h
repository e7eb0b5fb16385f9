// Row kernel of every likelihood: reads parameters, target and weight once; writes row sums, elements
// and gradients in the same pass. For a float32 scalar loss with its gradient: 12 bytes per element.
//
// What a shared parameter alone decides is computed once for all of its elements. Rows that share parameters
// of their columns are taken in groups; a group sums the gradients of its columns. Sparse targets, and those
// mostly of zeros, are evaluated twice: all elements at target 0, then a list of the others, whose results
// replace those.
#pragma once

#include <utility>

#include "../math/count_likelihood.h"
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

// Element i at target 0.
template <class T, class F, bool with_grad, size_t... K>
VAE_FAST_HD void zero(const NllStreams<T>& s, int64_t i, T shift, T scale, std::index_sequence<K...>) {
  const T p[] = {s.param[K][i]...};
  const Nll<T, F::parameters> e = F::zero(p);
  s.value[i] = e.value + shift;
  if (with_grad) ((s.grad[K][i] = e.grad[K] * scale), ...);
}

template <class F, class = void>
constexpr bool inflated = false;
template <class F>
constexpr bool inflated<F, std::void_t<typename F::Inner>> = true;

template <class T>
VAE_FAST_HD void inflate(const NllStreams<T>& s, int64_t i, const T* gate, T* by_gate, T* excess,
                         T* posterior, T scale) {
  const Mixed<T> m = mixed(s.value[i], gate[i]);
  s.value[i] = m.r;
  excess[i] = m.excess;
  posterior[i] = m.by_a;
  by_gate[i] = m.by_gate * scale;
}

// All elements at target 0. Of an inflated likelihood in three loops, each a short chain of dependent
// operations: one loop takes a third longer.
template <class T, class F, bool with_grad>
inline void evaluate_zeros(const NllStreams<T> s, int64_t n, T shift, T scale) {
  if constexpr (!inflated<F>) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i)
      zero<T, F, with_grad>(s, i, shift, scale, std::make_index_sequence<F::parameters>());
  } else {
    constexpr int gate = F::parameters - 1;
    evaluate_zeros<T, typename F::Inner, with_grad>(s, n, T(0), scale);
    alignas(64) T excess[piece_length], posterior[piece_length];
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) inflate(s, i, s.param[gate], s.grad[gate], excess, posterior, scale);
    T* __restrict value = s.value;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) value[i] = log1p_less(value[i], T(0)).value + excess[i] + shift;
    for (int k = 0; with_grad && k < gate; ++k) multiply(s.grad[k], posterior, n);
  }
}

template <class T>
inline void subtract_log_factorials(const T* __restrict t, T* __restrict values, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) values[i] -= log_factorial(t[i]);
}

// The numbers in [0, n) of elements that are no zeros, NaN included; returns how many.
template <class T>
inline int64_t list_nonzeros(const T* __restrict t, int64_t n, int32_t* __restrict list) {
  alignas(64) uint8_t flag[piece_length];
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) flag[i] = !(t[i] == T(0));
  for (int64_t i = n; i % 64; ++i) flag[i] = 0;
  int64_t found = 0;
  // By 64 at a time: with few nonzeros a loop over eight would end differently every time, and mispredict.
  for (int64_t first = 0; first < n; first += 64) {
    uint64_t bits = 0;
    for (int byte = 0; byte < 8; ++byte) {
      uint64_t word;
      memcpy(&word, flag + first + 8 * byte, sizeof word);
      bits |= (word * 0x0102040810204080u >> 56)
              << (8 * byte);  // the lowest bits of eight bytes side by side
    }
    if (bits == ~uint64_t(0)) {
      for (int32_t k = 0; k < 64; ++k) list[found + k] = static_cast<int32_t>(first) + k;
      found += 64;
      continue;
    }
    for (; bits; bits &= bits - 1) list[found++] = static_cast<int32_t>(first + __builtin_ctzll(bits));
  }
  return found;
}

// The first place in [begin, end) of ascending columns that is not before `col`.
template <class Index>
inline int64_t first_not_before(const Index* columns, int64_t begin, int64_t end, int64_t col) {
  while (begin < end) {
    const int64_t middle = begin + (end - begin) / 2;
    if (columns[middle] < col)
      begin = middle + 1;
    else
      end = middle;
  }
  return begin;
}

// Those of a sparse target among n elements from column `col` of a row on, over several rows where n is
// longer than one; their values.
template <class Index, class T>
inline int64_t list_sparse(const NllArgs& args, int64_t row, int64_t col, int64_t n, int32_t* list,
                           T* values) {
  const Index* starts = static_cast<const Index*>(args.starts.data);
  const Index* columns = static_cast<const Index*>(args.columns.data);
  const int64_t cols = args.split.cols;
  int64_t found = 0;
  for (int64_t first = 0; first < n; first += cols, ++row) {
    const int64_t last = col + minimum(n - first, cols);
    const int64_t begin = first_not_before(columns, starts[row], starts[row + 1], col);
    int64_t m = 0;
    while (begin + m < starts[row + 1] && columns[begin + m] < last) ++m;
    const T* from = load(args.target, 0, begin, m, values + found);
    for (int64_t k = 0; k < m; ++k) {
      list[found] = static_cast<int32_t>(first + columns[begin + k] - col);
      values[found] = from[k];
      found += !(from[k] == T(0));  // a zero may be listed, too
    }
  }
  return found;
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
    s.target = args_.starts.data ? nullptr : load(args_.target, target_row, col, n, target_);
    s.value = args_.values.data ? destination(args_.values, row, col, value_) : value_;
    for (int k = 0; k < P; ++k) {
      s.param[k] =
          args_.binding[k] == Binding::element ? load(args_.param[k], row, col, n, element_[k]) : bound_[k];
      s.grad[k] = args_.grad[k].data ? destination(args_.grad[k], row, col, grad_[k]) : grad_[k];
    }
    if (args_.shifts) s.param[0] = shifted(s.param[0], static_cast<T>(args_.shifts[row]), n);
    if (args_.starts.data || F::zeros_apart)
      evaluate_apart(s, target_row, col, n);
    else
      evaluate_as<F>(s, n);

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

  const T* shifted(const T* from, T shift, int64_t n) {
    T* to = element_[0];
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) to[i] = from[i] + shift;
    return to;
  }

  template <class Formula>
  void evaluate_as(const NllStreams<T>& s, int64_t n) const {
    if constexpr (Formula::derived > 0) {
      if (hoisted_) return evaluate_as<Formula, true>(s, n);
    }
    evaluate_as<Formula, false>(s, n);
  }

  template <class Formula, bool hoisted>
  void evaluate_as(const NllStreams<T>& s, int64_t n) const {
    const T shift = static_cast<T>(args_.constants[0]), scale = static_cast<T>(args_.grad_scale);
    if (with_value_ && with_grad_)
      evaluate<T, Formula, hoisted, true, true>(s, n, shift, scale);
    else if (with_value_)
      evaluate<T, Formula, hoisted, true, false>(s, n, shift, scale);
    else if (with_grad_)
      evaluate<T, Formula, hoisted, false, true>(s, n, shift, scale);
  }

  // Zeros everywhere, then what is listed over them; nothing of that where there are no zeros.
  void evaluate_apart(NllStreams<T> s, int64_t target_row, int64_t col, int64_t n) {
    Listed& listed = listed_;
    int64_t found = 0;
    if (!args_.starts.data)
      found = list_nonzeros(s.target, n, listed.place);
    else if (args_.columns.dtype == DType::int32)
      found = list_sparse<int32_t>(args_, target_row, col, n, listed.place, listed.target);
    else
      found = list_sparse<int64_t>(args_, target_row, col, n, listed.place, listed.target);
    if (found == n) {
      if (args_.starts.data) s.target = listed.target;
      return evaluate_nonzeros(s, n);
    }
    if constexpr (F::zeros_apart) {
      const T shift = static_cast<T>(args_.constants[0]), scale = static_cast<T>(args_.grad_scale);
      if (with_grad_)
        evaluate_zeros<T, F, true>(s, n, shift, scale);
      else
        evaluate_zeros<T, F, false>(s, n, shift, scale);
    } else {
      for (int64_t i = 0; i < n; ++i) target_[i] = T(0);
      s.target = target_;
      evaluate_as<F>(s, n);
    }
    if (found) evaluate_listed(s, found);
  }

  void evaluate_nonzeros(const NllStreams<T>& s, int64_t n) {
    if constexpr (F::zeros_apart) {
      // One of the two where they are the same; double has no use for the shorter one.
      using Short = std::conditional_t<sizeof(T) < sizeof(double), F, typename F::General>;
      const T shift = static_cast<T>(args_.constants[0]), scale = static_cast<T>(args_.grad_scale);
      bool general = false;
      for (int64_t i = 0; i < n; ++i) general |= !(s.target[i] >= T(1));
      if (general)
        evaluate<T, typename F::General, false, true, true>(s, n, shift, scale);
      else
        evaluate<T, Short, false, true, true>(s, n, shift, scale);
      if (args_.constants[1] == 0) subtract_log_factorials(s.target, s.value, n);
    } else {
      evaluate_as<F>(s, n);
    }
  }

  void evaluate_listed(const NllStreams<T>& s, int64_t found) {
    Listed& listed = listed_;
    NllStreams<T> l{};
    const auto gather = [&](const T* from, T* to) {
      for (int64_t i = 0; i < found; ++i) to[i] = from[listed.place[i]];
      return to;
    };
    for (int k = 0; k < P; ++k) {
      l.param[k] = gather(s.param[k], listed.param[k]);
      l.grad[k] = listed.grad[k];
    }
    if (hoisted_) l.derived[0] = gather(s.derived[0], listed.derived);
    l.target = args_.starts.data ? listed.target : gather(s.target, listed.target);
    l.value = listed.value;
    evaluate_nonzeros(l, found);
    const auto scatter = [&](const T* from, T* to) {
      for (int64_t i = 0; i < found; ++i) to[listed.place[i]] = from[i];
    };
    if (with_value_) scatter(listed.value, s.value);
    for (int k = 0; with_grad_ && k < P; ++k) scatter(listed.grad[k], s.grad[k]);
  }

  // Elements that are no zeros, one behind the other.
  struct Listed {
    alignas(64) T param[P][piece_length];
    alignas(64) T derived[piece_length], target[piece_length], value[piece_length];
    alignas(64) T grad[P][piece_length];
    alignas(64) int32_t place[piece_length];
  };

  const NllArgs& args_;
  bool with_value_ = false, with_grad_ = false, hoisted_ = false;
  const T* bound_[P] = {};
  alignas(64) T shared_[P][piece_length];
  alignas(64) T element_[P][piece_length];
  alignas(64) T derived_[piece_length];
  alignas(64) T column_sums_[P][piece_length];
  alignas(64) T target_[piece_length], factor_[piece_length], value_[piece_length];
  alignas(64) T grad_[P][piece_length];
  Listed listed_;
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
  bool dense = !args.shifts && (args.starts.data || is_dense(args.target, cols)) &&
               is_dense(args.weight, cols) && is_dense(args.grad_out, cols) && is_dense(args.values, cols);
  for (int k = 0; k < F::parameters; ++k) {
    const bool element = args.binding[k] == Binding::element;
    dense = dense && (args.binding[k] == Binding::one ||
                      (element && is_dense(args.param[k], cols) && is_dense(args.grad[k], cols)));
  }
  for (int64_t unit = begin; unit < end; ++unit) clear_sums(args, unit);
  for_each_piece(split, args.batch, dense, begin, end, pieces);
}

// Negative binomials, whose first constant of their own says whether log Gamma(target + 1) is included, and
// the second whether means and dispersions are given as logarithms.
template <class T, bool logs>
inline void nll_of_counts(const NllArgs& args, int64_t begin, int64_t end) {
  switch (args.likelihood) {
    case Likelihood::zero_inflated_negative_binomial:
      return nll_of<T, ZeroInflated<T, logs>>(args, begin, end);
    case Likelihood::negative_binomial_mixture:
      return args.parameters == 4 ? nll_of<T, MixtureOfOneTheta<T, logs>>(args, begin, end)
                                  : nll_of<T, Mixture<T, logs>>(args, begin, end);
    default: return nll_of<T, NegativeBinomial<T, logs>>(args, begin, end);
  }
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
    default:
      return args.constants[2] != 0 ? nll_of_counts<T, true>(args, begin, end)
                                    : nll_of_counts<T, false>(args, begin, end);
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
