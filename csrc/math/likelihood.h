// Likelihood functors: one element's parameters and target in, its negative log-likelihood (nats) and
// the partial derivatives out. A row kernel on any machine serves all of them.
//
//   operator()(param, logvar, target) -> {value, d/dparam, d/dlogvar}
#pragma once

#include "elementary.h"

namespace vae_fast {
namespace VAE_FAST_ISA {

template <class T>
struct ElementNll {
  T value, dparam, dlogvar;
};

// -log Bernoulli(target | sigmoid(logit)), with softplus and sigmoid from one exponential.
template <class T>
struct Bernoulli {
  static constexpr bool has_logvar = false;
  VAE_FAST_HD ElementNll<T> operator()(T logit, T, T target) const {
    const T e = exponential_of_minus_magnitude(logit);
    const T inverse = reciprocal(T(1) + e);
    const bool positive = logit > T(0);
    ElementNll<T> out;
    // (softplus(x) - t x) without the cancellation: the step minus the target is exact or nearly so.
    out.value = log1p_unit_plus(e, ((positive ? T(1) : T(0)) - target) * logit);
    out.dparam = (positive ? inverse : e * inverse) - target;
    out.dlogvar = T(0);
    return out;
  }
};

// -log N(target | mean, 1) - constant: half the squared error.
template <class T>
struct GaussianUnit {
  static constexpr bool has_logvar = false;
  VAE_FAST_HD ElementNll<T> operator()(T mean, T, T target) const {
    const T difference = mean - target;
    ElementNll<T> out;
    out.value = T(0.5) * difference * difference;
    out.dparam = difference;
    out.dlogvar = T(0);
    return out;
  }
};

// -log N(target | mean, e^logvar) - constant, the log-variance shared by all elements.
template <class T>
struct GaussianShared {
  static constexpr bool has_logvar = true;
  T logvar, precision;
  VAE_FAST_HD ElementNll<T> operator()(T mean, T, T target) const {
    const T difference = mean - target;
    const T scaled = difference * precision;
    ElementNll<T> out;
    out.value = T(0.5) * (difference * scaled + logvar);
    out.dparam = scaled;
    out.dlogvar = T(0.5) * (T(1) - difference * scaled);
    return out;
  }
};

// -log N(target | mean, e^logvar) - constant, a log-variance per element.
template <class T>
struct GaussianElement {
  static constexpr bool has_logvar = true;
  VAE_FAST_HD ElementNll<T> operator()(T mean, T logvar, T target) const {
    return GaussianShared<T>{logvar, exponential(-logvar)}(mean, logvar, target);
  }
};

}  // namespace VAE_FAST_ISA
}  // namespace vae_fast
