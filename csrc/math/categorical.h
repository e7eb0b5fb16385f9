// KL divergence of a categorical distribution to the uniform one from sums over its categories, without
// cancellation: near the uniform distribution it is about half the variance of the logits.
#pragma once

#include "gumbel.h"

namespace vae_fast {
namespace VAE_FAST_ISA {

// log(u) for a normal u or NaN; `minus_one` is u - 1, which may be known better than u is.
VAE_FAST_HD float logarithm(float u, float minus_one) {
  const float value = unfused_log_of(u, minus_one);
  return u == u ? value : u;
}
VAE_FAST_HD double logarithm(double u, double minus_one) {
  return u > 0.5 && u < 2.0 ? log1p(minus_one) : log(u);
}

// Logits are taken relative to their mean where none of them is much larger, else to the largest one.
template <class T>
VAE_FAST_HD bool is_near_uniform(T largest, T mean) {
  return largest - mean <= T(4);
}

// The distance d of a logit to the largest one, finite: an impossible category (-inf) has no weight, and so
// adds nothing to a sum of exp(d) d.
template <class T>
VAE_FAST_HD T bounded(T d) {
  return T(-200) > d ? T(-200) : d;
}

// Sums over the categories, of d = relative(logit, centre).
template <class T>
struct CategoricalSums {
  T weight;  // exp(d)
  T moment;  // exp(d) d
  T excess;  // exp(d) - 1 - d
  T slope;   // (exp(d) - 1) d
};

// sum q log(q K) for q = exp(d) / sum exp(d).
template <class T>
VAE_FAST_HD T categorical_kl(const CategoricalSums<T>& sums, T categories, bool near) {
  // Relative to the mean, the d add up to 0, so that the mean of exp(d) is 1 plus that of the excess.
  const T excess = sums.excess / categories;
  const T mean_weight = sums.weight / categories;
  const T first = near ? sums.slope / categories / (T(1) + excess) : sums.moment / sums.weight;
  const T second = near ? logarithm(T(1) + excess, excess) : logarithm(mean_weight, mean_weight - T(1));
  return first - second;
}

}  // namespace VAE_FAST_ISA
}  // namespace vae_fast
