// Kernels of the categorical latent: reads the logits once, writes the Gumbel-softmax sample and the KL,
// keeps no noise; the backward draws the same noise again.
//
// Few categories: a block of variables is turned round, so that a vector holds one category of many of them.
// Many categories: a vector holds many categories of one variable; beyond a piece, what a second pass needs
// is computed again.
#pragma once

#include "../math/categorical.h"
#include "noise.h"

namespace vae_fast {
namespace VAE_FAST_ISA {

constexpr int64_t few_categories = 64;
constexpr int64_t vector_length = 16;

// Where a kernel is: variables [first, first + count), numbered through the whole batch.
struct Block {
  int64_t categories;
  int64_t first, count;
  int64_t lanes;  // count, rounded up to whole vectors

  int64_t element() const { return first * categories; }
  int64_t elements() const { return count * categories; }
};

template <class T>
inline void turn(const Block& block, const T* __restrict rows, T* __restrict turned) {
  for (int64_t i = 0; i < block.count; ++i)
    for (int64_t k = 0; k < block.categories; ++k)
      turned[k * block.lanes + i] = rows[i * block.categories + k];
  for (int64_t i = block.count; i < block.lanes; ++i)
    for (int64_t k = 0; k < block.categories; ++k) turned[k * block.lanes + i] = T(0);
}

template <class T>
inline void turn_back(const Block& block, const T* __restrict turned, T* __restrict rows) {
  for (int64_t i = 0; i < block.count; ++i)
    for (int64_t k = 0; k < block.categories; ++k)
      rows[i * block.categories + k] = turned[k * block.lanes + i];
}

// (logit + noise) / tau of n elements.
template <class T>
inline void perturbed(const CategoricalArgs& args, int64_t element, int64_t n, const T* __restrict logits,
                      T* __restrict out) {
  alignas(64) float drawn[piece_length];
  draw<GumbelNoise>(args.seed, element, element + n, drawn);
  const T scale = T(1) / static_cast<T>(args.tau);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) out[i] = (logits[i] + drawn[i]) * scale;
}

// Of each variable of a turned block, its largest value.
template <class T>
inline void largest_of(const Block& block, const T* __restrict x, T* __restrict largest) {
  for (int64_t i = 0; i < block.lanes; ++i) largest[i] = x[i];
  for (int64_t k = 1; k < block.categories; ++k) {
    const T* __restrict row = x + k * block.lanes;
#pragma omp simd
    for (int64_t i = 0; i < block.lanes; ++i) largest[i] = row[i] > largest[i] ? row[i] : largest[i];
  }
}

// x becomes exp(x - largest), `total` their sum.
template <class T>
inline void exponentials(const Block& block, const T* __restrict largest, T* __restrict x,
                         T* __restrict total) {
  for (int64_t i = 0; i < block.lanes; ++i) total[i] = T(0);
  for (int64_t k = 0; k < block.categories; ++k) {
    T* __restrict row = x + k * block.lanes;
#pragma omp simd
    for (int64_t i = 0; i < block.lanes; ++i) {
      row[i] = exponential(row[i] - largest[i]);
      total[i] += row[i];
    }
  }
}

template <class T>
inline double kl_of_block(const Block& block, const T* __restrict logits) {
  alignas(64) T largest[piece_length], centre[piece_length], near[piece_length], kl[piece_length];
  alignas(64) T weight[piece_length], moment[piece_length], excess[piece_length], slope[piece_length];
  largest_of(block, logits, largest);
  const T categories = static_cast<T>(block.categories);
  for (int64_t i = 0; i < block.lanes; ++i) centre[i] = weight[i] = moment[i] = excess[i] = slope[i] = T(0);
  for (int64_t k = 0; k < block.categories; ++k) {
    const T* __restrict row = logits + k * block.lanes;
#pragma omp simd
    for (int64_t i = 0; i < block.lanes; ++i) centre[i] += row[i];
  }
#pragma omp simd
  for (int64_t i = 0; i < block.lanes; ++i) {
    const T mean = centre[i] / categories;
    near[i] = is_near_uniform(largest[i], mean) ? T(1) : T(0);
    centre[i] = is_near_uniform(largest[i], mean) ? mean : largest[i];
  }
  for (int64_t k = 0; k < block.categories; ++k) {
    const T* __restrict row = logits + k * block.lanes;
#pragma omp simd
    for (int64_t i = 0; i < block.lanes; ++i) {
      const T d = row[i] - centre[i];
      const T e = exponential(d);
      const Expm1<T> minus = expm1_and_minus(d);
      weight[i] += e;
      moment[i] += e * bounded(d);
      excess[i] += minus.minus;
      slope[i] += minus.value * d;
    }
  }
#pragma omp simd
  for (int64_t i = 0; i < block.lanes; ++i) {
    const CategoricalSums<T> sums = {weight[i], moment[i], excess[i], slope[i]};
    kl[i] = categorical_kl(sums, categories, near[i] != T(0));
  }
  return sum(kl, block.count);
}

// What a one-hot sample has at a value of the largest kind: the first one found takes all that is `free`,
// which is 1, 0 once taken, or NaN where the softmax is.
template <class T>
VAE_FAST_HD T take(T x, T largest, T& free) {
  const T chosen = (x < largest ? T(0) : T(1)) * free;
  free -= chosen;
  return chosen;
}

template <class T>
inline double sample_block(const CategoricalArgs& args, const Block& block) {
  alignas(64) T buffer[piece_length], flat[piece_length], turned[piece_length], x[piece_length];
  alignas(64) T largest[piece_length], total[piece_length];
  const int64_t n = block.elements();
  const T* logits = load(args.logits, 0, block.element(), n, buffer);
  turn(block, logits, turned);
  const double kl = kl_of_block(block, turned);

  perturbed(args, block.element(), n, logits, flat);
  turn(block, flat, x);
  largest_of(block, x, largest);
  for (int64_t i = 0; i < block.categories * block.lanes; ++i) turned[i] = x[i];
  exponentials(block, largest, turned, total);
  if (args.hard) {
    for (int64_t i = 0; i < block.lanes; ++i) total[i] /= total[i];
    for (int64_t k = 0; k < block.categories; ++k) {
      const int64_t row = k * block.lanes;
#pragma omp simd
      for (int64_t i = 0; i < block.lanes; ++i) turned[row + i] = take(x[row + i], largest[i], total[i]);
    }
  } else {
    for (int64_t k = 0; k < block.categories; ++k) {
      T* __restrict row = turned + k * block.lanes;
#pragma omp simd
      for (int64_t i = 0; i < block.lanes; ++i) row[i] /= total[i];
    }
  }
  turn_back(block, turned, flat);
  write(args.y, 0, block.element(), n, flat);
  return kl;
}

// grad becomes scale y (g - sum g y), for the softmax y of x.
template <class T>
inline void softmax_backward(const Block& block, const T* __restrict grad_y, T scale, T* __restrict x,
                             T* __restrict grad) {
  alignas(64) T largest[piece_length], total[piece_length], dot[piece_length];
  largest_of(block, x, largest);
  exponentials(block, largest, x, total);
  for (int64_t i = 0; i < block.lanes; ++i) dot[i] = T(0);
  for (int64_t k = 0; k < block.categories; ++k) {
    const int64_t row = k * block.lanes;
#pragma omp simd
    for (int64_t i = 0; i < block.lanes; ++i) dot[i] += grad_y[row + i] * x[row + i];
  }
#pragma omp simd
  for (int64_t i = 0; i < block.lanes; ++i) {
    dot[i] /= total[i];
    total[i] = scale / total[i];
  }
  for (int64_t k = 0; k < block.categories; ++k) {
    const int64_t row = k * block.lanes;
#pragma omp simd
    for (int64_t i = 0; i < block.lanes; ++i)
      grad[row + i] = x[row + i] * total[i] * (grad_y[row + i] - dot[i]);
  }
}

// Adds scale q (d - sum q d) to grad, for q the softmax of the logits and d their distance to the largest.
template <class T>
inline void kl_backward(const Block& block, T scale, const T* __restrict logits, T* __restrict grad) {
  alignas(64) T largest[piece_length], total[piece_length], moment[piece_length];
  largest_of(block, logits, largest);
  for (int64_t i = 0; i < block.lanes; ++i) total[i] = moment[i] = T(0);
  for (int64_t k = 0; k < block.categories; ++k) {
    const T* __restrict row = logits + k * block.lanes;
#pragma omp simd
    for (int64_t i = 0; i < block.lanes; ++i) {
      const T d = bounded(row[i] - largest[i]);
      const T weight = exponential(d);
      total[i] += weight;
      moment[i] += weight * d;
    }
  }
#pragma omp simd
  for (int64_t i = 0; i < block.lanes; ++i) {
    moment[i] /= total[i];
    total[i] = scale / total[i];
  }
  for (int64_t k = 0; k < block.categories; ++k) {
    const int64_t row = k * block.lanes;
#pragma omp simd
    for (int64_t i = 0; i < block.lanes; ++i) {
      const T d = bounded(logits[row + i] - largest[i]);
      grad[row + i] += exponential(d) * total[i] * (d - moment[i]);
    }
  }
}

template <class T>
inline void backward_block(const CategoricalArgs& args, const Block& block, T grad_kl) {
  alignas(64) T buffer[piece_length], flat[piece_length], turned[piece_length];
  alignas(64) T grad_y[piece_length], grad[piece_length];
  const int64_t n = block.elements();
  const T* logits = load(args.logits, 0, block.element(), n, buffer);
  if (args.grad_y.data) {
    alignas(64) T grad_buffer[piece_length];
    turn(block, load(args.grad_y, 0, block.element(), n, grad_buffer), grad_y);
    perturbed(args, block.element(), n, logits, flat);
    turn(block, flat, turned);
    softmax_backward(block, grad_y, T(1) / static_cast<T>(args.tau), turned, grad);
  } else {
    for (int64_t i = 0; i < block.categories * block.lanes; ++i) grad[i] = T(0);
  }
  if (args.grad_kl.data) {
    turn(block, logits, turned);
    kl_backward(block, grad_kl, turned, grad);
  }
  turn_back(block, grad, flat);
  write(args.grad_logits, 0, block.element(), n, flat);
}

// Pieces of one variable's logits; with `noise`, of (logits + noise) / tau. A single piece is made once.
template <class T>
class Pieces {
 public:
  Pieces(const CategoricalArgs& args, int64_t variable, bool noise)
      : args_(args), first_(variable * args.categories), noise_(noise) {}

  const T* operator()(int64_t k, int64_t n) {
    if (made_) return made_;
    const T* values = load(args_.logits, 0, first_ + k, n, loaded_);
    if (noise_) {
      perturbed(args_, first_ + k, n, values, perturbed_);
      values = perturbed_;
    }
    if (args_.categories <= piece_length) made_ = values;
    return values;
  }

 private:
  const CategoricalArgs& args_;
  int64_t first_;
  bool noise_;
  const T* made_ = nullptr;
  alignas(64) T loaded_[piece_length];
  alignas(64) T perturbed_[piece_length];
};

template <class Body>
inline void for_each_piece_of(int64_t categories, const Body& body) {
  for (int64_t k = 0; k < categories; k += piece_length) body(k, minimum(piece_length, categories - k));
}

// The largest value, and the sum of exp(value - largest).
template <class T>
struct Softmax {
  T largest, total;
};

template <class T>
inline T largest_of(const T* __restrict values, int64_t n, T largest) {
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < n; ++i) largest = values[i] > largest ? values[i] : largest;
  return largest;
}

template <class T>
inline Softmax<T> softmax_of(int64_t categories, Pieces<T>& pieces) {
  Softmax<T> result = {*pieces(0, minimum(piece_length, categories)), T(0)};
  for_each_piece_of(categories, [&](int64_t k, int64_t n) {
    const T* __restrict values = pieces(k, n);
    const T largest = largest_of(values, n, result.largest);
    T total = T(0);
#pragma omp simd reduction(+ : total)
    for (int64_t i = 0; i < n; ++i) total += exponential(values[i] - largest);
    result.total = k ? result.total * exponential(result.largest - largest) + total : total;
    result.largest = largest;
  });
  return result;
}

template <class T>
inline double kl_of_variable(int64_t categories, Pieces<T>& logits) {
  T largest = *logits(0, minimum(piece_length, categories)), total = T(0);
  for_each_piece_of(categories, [&](int64_t k, int64_t n) {
    const T* __restrict values = logits(k, n);
    largest = largest_of(values, n, largest);
    T part = T(0);
#pragma omp simd reduction(+ : part)
    for (int64_t i = 0; i < n; ++i) part += values[i];
    total += part;
  });
  const T mean = total / static_cast<T>(categories);
  const bool near = is_near_uniform(largest, mean);
  const T centre = near ? mean : largest;
  CategoricalSums<T> sums = {T(0), T(0), T(0), T(0)};
  for_each_piece_of(categories, [&](int64_t k, int64_t n) {
    const T* __restrict values = logits(k, n);
    alignas(64) T weight[piece_length], moment[piece_length], excess[piece_length], slope[piece_length];
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      const T d = values[i] - centre;
      const Expm1<T> minus = expm1_and_minus(d);
      weight[i] = exponential(d);
      moment[i] = weight[i] * bounded(d);
      excess[i] = minus.minus;
      slope[i] = minus.value * d;
    }
    sums.weight += static_cast<T>(sum(weight, n));
    sums.moment += static_cast<T>(sum(moment, n));
    sums.excess += static_cast<T>(sum(excess, n));
    sums.slope += static_cast<T>(sum(slope, n));
  });
  return categorical_kl(sums, static_cast<T>(categories), near);
}

template <class T>
inline double sample_variable(const CategoricalArgs& args, int64_t variable) {
  const int64_t categories = args.categories, first = variable * categories;
  Pieces<T> logits(args, variable, false), x(args, variable, true);
  const Softmax<T> softmax = softmax_of(categories, x);
  T free = softmax.total / softmax.total;
  for_each_piece_of(categories, [&](int64_t k, int64_t n) {
    alignas(64) T y[piece_length];
    const T* __restrict values = x(k, n);
    if (args.hard) {
      for (int64_t i = 0; i < n; ++i) y[i] = take(values[i], softmax.largest, free);
    } else {
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) y[i] = exponential(values[i] - softmax.largest) / softmax.total;
    }
    write(args.y, 0, first + k, n, y);
  });
  return kl_of_variable(categories, logits);
}

template <class T>
inline void backward_variable(const CategoricalArgs& args, int64_t variable, T grad_kl) {
  const int64_t categories = args.categories, first = variable * categories;
  Pieces<T> logits(args, variable, false), x(args, variable, true);
  alignas(64) T buffer[piece_length], grad[piece_length];
  Softmax<T> sample = {T(0), T(1)}, q = {T(0), T(1)};
  T dot = T(0), moment = T(0);
  if (args.grad_y.data) {
    sample = softmax_of(categories, x);
    for_each_piece_of(categories, [&](int64_t k, int64_t n) {
      const T* __restrict values = x(k, n);
      const T* __restrict grad_y = load(args.grad_y, 0, first + k, n, buffer);
      T part = T(0);
#pragma omp simd reduction(+ : part)
      for (int64_t i = 0; i < n; ++i) part += grad_y[i] * exponential(values[i] - sample.largest);
      dot += part;
    });
    dot /= sample.total;
  }
  if (args.grad_kl.data) {
    q = softmax_of(categories, logits);
    for_each_piece_of(categories, [&](int64_t k, int64_t n) {
      const T* __restrict values = logits(k, n);
      T part = T(0);
#pragma omp simd reduction(+ : part)
      for (int64_t i = 0; i < n; ++i) {
        const T d = bounded(values[i] - q.largest);
        part += exponential(d) * d;
      }
      moment += part;
    });
    moment /= q.total;
  }
  const T sample_scale = T(1) / static_cast<T>(args.tau) / sample.total, kl_scale = grad_kl / q.total;
  for_each_piece_of(categories, [&](int64_t k, int64_t n) {
    for (int64_t i = 0; i < n; ++i) grad[i] = T(0);
    if (args.grad_y.data) {
      const T* __restrict values = x(k, n);
      const T* __restrict grad_y = load(args.grad_y, 0, first + k, n, buffer);
#pragma omp simd
      for (int64_t i = 0; i < n; ++i)
        grad[i] = exponential(values[i] - sample.largest) * sample_scale * (grad_y[i] - dot);
    }
    if (args.grad_kl.data) {
      const T* __restrict values = logits(k, n);
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) {
        const T d = bounded(values[i] - q.largest);
        grad[i] += exponential(d) * kl_scale * (d - moment);
      }
    }
    write(args.grad_logits, 0, first + k, n, grad);
  });
}

// Calls block(first, count, unit) for blocks of variables of the units [begin, end).
template <class Body>
inline void for_each_block(const CategoricalArgs& args, int64_t begin, int64_t end, const Body& body) {
  int64_t longest = 1;
  if (args.categories <= few_categories)
    longest = piece_length / args.categories / vector_length * vector_length;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t sample = unit / args.per_row;
    const int64_t first = (unit - sample * args.per_row) * args.chunk;
    const int64_t last = minimum(first + args.chunk, args.variables);
    for (int64_t v = first; v < last; v += longest) {
      const int64_t count = minimum(longest, last - v);
      const int64_t lanes = (count + vector_length - 1) / vector_length * vector_length;
      body(Block{args.categories, sample * args.variables + v, count, lanes}, unit, sample);
    }
  }
}

template <class T>
inline void categorical_typed(const CategoricalArgs& args, int64_t begin, int64_t end) {
  for (int64_t unit = begin; unit < end; ++unit) args.kl_sums[unit] = 0;
  for_each_block(args, begin, end, [&](const Block& block, int64_t unit, int64_t) {
    args.kl_sums[unit] += args.categories <= few_categories ? sample_block<T>(args, block)
                                                            : sample_variable<T>(args, block.first);
  });
}

template <class T>
inline void categorical_backward_typed(const CategoricalArgs& args, int64_t begin, int64_t end) {
  for_each_block(args, begin, end, [&](const Block& block, int64_t, int64_t sample) {
    T grad_kl = T(0);
    if (args.grad_kl.data) {
      T buffer[1] = {T(0)};
      grad_kl = *load(args.grad_kl, sample, 0, 1, buffer);
    }
    if (args.categories <= few_categories)
      backward_block<T>(args, block, grad_kl);
    else
      backward_variable<T>(args, block.first, grad_kl);
  });
}

inline void categorical(const CategoricalArgs& args, int64_t begin, int64_t end) {
  if (args.is_double)
    categorical_typed<double>(args, begin, end);
  else
    categorical_typed<float>(args, begin, end);
}

inline void categorical_backward(const CategoricalArgs& args, int64_t begin, int64_t end) {
  if (args.is_double)
    categorical_backward_typed<double>(args, begin, end);
  else
    categorical_backward_typed<float>(args, begin, end);
}

}  // namespace VAE_FAST_ISA
}  // namespace vae_fast
