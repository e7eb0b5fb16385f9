// Likelihood functors: one element's parameters and target in, its negative log-likelihood (nats) and the
// partial derivatives out. The row kernels of all machines serve every one of them.
//
//   parameters          their number P
//   derived             how many numbers of parameter P - 1 alone the formula needs; where elements share
//                       that parameter, derive(p, d) is called once for all of them
//   at(p, d, t)         value and derivatives at parameters p, with what was derived, and target t
//   zeros_apart         whether targets are counts, mostly zero, and zeros are cheaper: then
//     zero(p)           value and derivatives at target 0, so that at() is only asked about others
//     General           the functor whose at() takes targets below 1, too
//     Inner             the functor whose zeros a gate, the last parameter, inflates: instead of zero()
//
#pragma once

#include "logarithm.h"
#include "stirling.h"

namespace vae_fast {
namespace VAE_FAST_ISA {

template <class T, int N>
struct Nll {
  T value;
  T grad[N];
};

// -log Bernoulli(target | sigmoid(logit)), with softplus and sigmoid from one exponential.
template <class T>
struct Bernoulli {
  static constexpr int parameters = 1, derived = 0;
  static constexpr bool zeros_apart = false;
  VAE_FAST_HD static void derive(T, T*) {}
  VAE_FAST_HD static Nll<T, 1> at(const T* p, const T*, T target) {
    const T logit = p[0];
    const T e = exponential_of_minus_magnitude(logit);
    const T inverse = reciprocal(T(1) + e);
    const bool positive = logit > T(0);
    // (softplus(x) - t x) without the cancellation: the step minus the target is exact or nearly so.
    const T miss = (positive ? T(1) : T(0)) - target;
    return {log1p_unit_plus(e, miss * logit), {(positive ? inverse : e * inverse) - target}};
  }
};

// -log N(target | mean, 1) - constant: half the squared error.
template <class T>
struct GaussianUnit {
  static constexpr int parameters = 1, derived = 0;
  static constexpr bool zeros_apart = false;
  VAE_FAST_HD static void derive(T, T*) {}
  VAE_FAST_HD static Nll<T, 1> at(const T* p, const T*, T target) {
    const T difference = p[0] - target;
    return {T(0.5) * difference * difference, {difference}};
  }
};

// -log N(target | mean, e^logvar) - constant.
template <class T>
struct Gaussian {
  static constexpr int parameters = 2, derived = 1;
  static constexpr bool zeros_apart = false;
  VAE_FAST_HD static void derive(T logvar, T* d) { d[0] = exponential(T(-0.5) * logvar); }
  VAE_FAST_HD static Nll<T, 2> at(const T* p, const T* d, T target) {
    const T difference = p[0] - target;
    const T inverse = factor_of_nonzero(d[0], difference);
    const T scaled = difference * inverse;
    const T squares = scaled * scaled;
    return {T(0.5) * (squares + p[1]), {scaled * inverse, T(0.5) - T(0.5) * squares}};
  }
};

// -log Laplace(target | loc, 1) - constant: the absolute error.
template <class T>
struct LaplaceUnit {
  static constexpr int parameters = 1, derived = 0;
  static constexpr bool zeros_apart = false;
  VAE_FAST_HD static void derive(T, T*) {}
  VAE_FAST_HD static Nll<T, 1> at(const T* p, const T*, T target) {
    const T difference = p[0] - target;
    const T size = difference < T(0) ? -difference : difference;
    return {size, {difference == T(0) ? T(0) : difference < T(0) ? T(-1) : size > T(0) ? T(1) : size}};
  }
};

// -log Laplace(target | loc, e^logscale) - constant.
template <class T>
struct Laplace {
  static constexpr int parameters = 2, derived = 1;
  static constexpr bool zeros_apart = false;
  VAE_FAST_HD static void derive(T logscale, T* d) { d[0] = exponential(-logscale); }
  VAE_FAST_HD static Nll<T, 2> at(const T* p, const T* d, T target) {
    const T unit[1] = {p[0]};
    const Nll<T, 1> error = LaplaceUnit<T>::at(unit, d, target);
    const T inverse = factor_of_nonzero(d[0], error.value);
    const T scaled = error.value * inverse;
    return {scaled + p[1], {error.grad[0] * inverse, T(1) - scaled}};
  }
};

// -log Poisson(target | e^log_rate), in full or without log Gamma(target + 1). With d = log_rate -
// log(target), a positive count costs what it costs at the best rate and target (e^d - 1 - d), where nothing
// cancels:
//
//   log(2 pi t) / 2 + remainder(1 / t) + t (e^d - 1 - d)
//
// Below 1 it is e^log_rate - t log_rate + log Gamma(t + 1). No likelihood is defined for targets of -1 and
// less: NaN.
template <class T, bool full>
struct Poisson {
  static constexpr int parameters = 1, derived = 0;
  static constexpr bool zeros_apart = full;
  using General = Poisson;
  VAE_FAST_HD static void derive(T, T*) {}
  VAE_FAST_HD static Nll<T, 1> zero(const T* p) {
    const T rate = exponential(p[0]);
    return {rate, {rate}};
  }
  VAE_FAST_HD static Nll<T, 1> at(const T* p, const T*, T target) {
    const T log_rate = p[0];
    const T product = target * factor_of_nonzero(log_rate, target);
    if (!full) {
      const T rate = exponential(log_rate);
      return {rate - product, {rate - target}};
    }
    const bool small = target < T(1);
    const T y = small ? T(1) : target;
    const T distance = small ? log_rate : subtract_log(log_rate, y);
    const T power = exponential(distance);
    const Expm1<T> e = expm1_and_minus(distance);
    const T slope = small ? power - target : target * e.value;
    const T best = T(0.5) * (log_positive(y) + T(1.8378770664093453)) + stirling_remainder(T(1) / y);
    const T below = target > T(-1) ? power - product + log_factorial_below_one(target) : T(NAN);
    return {small ? below : best + target * e.minus, {slope}};
  }
};

}  // namespace VAE_FAST_ISA
}  // namespace vae_fast
