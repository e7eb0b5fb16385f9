// The likelihood functors as kernels use them: with what they need to know of a launch, and one element of
// any of them.
#pragma once

#include "../math/likelihood.h"
#include "vector.cuh"

namespace vae_fast {
namespace cuda {

// Resident blocks of the likelihoods in packets: three, whose 80 registers hold two packets of every stream
// in flight, move more at once than four with one packet.
constexpr int nll_blocks = 3;

// A functor whose last parameter may be absent. `resident` blocks and packets `in_flight` are what its
// registers allow.
template <class Formula, class T, int blocks, int packets>
struct Functor {
  static constexpr int parameters = Formula::parameters, derived = Formula::derived;
  static constexpr int resident = blocks, in_flight = packets;
  static constexpr T absent = T(0);
  static __device__ __forceinline__ void derive(T last, T* d) { Formula::derive(last, d); }
  static __device__ __forceinline__ portable::Nll<T, parameters> at(const ElboArgs&, const T* p, const T* d,
                                                                    T target) {
    return Formula::at(p, d, target);
  }
};

template <class T>
struct Bernoulli : Functor<portable::Bernoulli<T>, T, nll_blocks, packets_of_tile> {};
template <class T>
struct Gaussian : Functor<portable::Gaussian<T>, T, nll_blocks, 1> {};
template <class T>
struct Laplace : Functor<portable::Laplace<T>, T, nll_blocks, 1> {};

// In full or not, which is the same for the whole launch.
template <class T>
struct Poisson : Functor<portable::Poisson<T, true>, T, nll_blocks, 1> {
  static __device__ __forceinline__ portable::Nll<T, 1> at(const ElboArgs& args, const T* p, const T* d,
                                                           T target) {
    return args.constants[1] != 0 ? portable::Poisson<T, true>::at(p, d, target)
                                  : portable::Poisson<T, false>::at(p, d, target);
  }
};

// Value and derivatives by the first and the last parameter, weighted.
template <class T>
struct Element {
  T value, first, last;
};

// Parameter k of an element; a sample's is in the row of the target.
template <class T>
__device__ __forceinline__ T parameter_of(const ElboArgs& args, int k, int64_t row, int64_t target_row,
                                          int64_t i) {
  return element_of<T>(args.param[k], args.binding[k] == Binding::sample ? target_row : row, i);
}

template <template <class> class F, class T>
__device__ __forceinline__ Element<T> unweighted(const ElboArgs& args, T x, T last, T target) {
  using Of = F<T>;
  T p[Of::parameters], d[1] = {T(0)};
  p[Of::parameters - 1] = last;
  Of::derive(last, d);
  p[0] = x;
  const portable::Nll<T, Of::parameters> e = Of::at(args, p, d, target);
  return {e.value, e.grad[0], e.grad[Of::parameters - 1]};
}

template <class T>
__device__ __forceinline__ Element<T> element_at(const ElboArgs& args, int64_t row, int64_t target_row,
                                                 int64_t i) {
  const T x = element_of<T>(args.param[0], row, i), target = element_of<T>(args.target, target_row, i);
  const T last = args.parameters > 1 ? parameter_of<T>(args, 1, row, target_row, i) : T(0);
  Element<T> e;
  switch (args.likelihood) {
    case Likelihood::bernoulli: e = unweighted<Bernoulli, T>(args, x, last, target); break;
    case Likelihood::gaussian: e = unweighted<Gaussian, T>(args, x, last, target); break;
    case Likelihood::laplace: e = unweighted<Laplace, T>(args, x, last, target); break;
    default: e = unweighted<Poisson, T>(args, x, last, target); break;
  }
  e.value += static_cast<T>(args.constants[0]);
  if (!args.weight.data) return e;
  const T weight = element_of<T>(args.weight, target_row, i);
  if (args.weight.dtype == DType::boolean && weight == T(0)) return {T(0), T(0), T(0)};
  return {e.value * weight, e.first * weight, e.last * weight};
}

}  // namespace cuda
}  // namespace vae_fast
