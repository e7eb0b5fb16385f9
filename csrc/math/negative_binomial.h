// Negative binomials of counts: of a mean mu and an inverse dispersion theta, zero-inflated, and mixtures of
// two. Every formula is a sum of terms of one sign, so that nothing cancels, however large theta is. With
//
//   s = theta + mu,  u = (x - mu) / s,  w = -theta u / x,  minus(t) = t - log(1 + t) >= 0
//
//   x = 0   theta log(1 + mu / theta)             d/dtheta = minus(u)
//   x > 0   E + theta minus(u) + x minus(w)       d/dtheta = minus(u) - S       always d/d log mu = -theta u
//
// where E and S are what theta and x alone decide: E the value at mu = x, by Stirling's remainders delta, and
// S a difference of digamma functions,
//
//   E = log(2 pi x (1 + x / theta)) / 2 + delta(x) + delta(theta) - delta(x + theta)
//   S = digamma(x + theta) - digamma(theta) - log(1 + x / theta)
//     = x / (2 theta (x + theta)) + delta'(x + theta) - delta'(theta)
#pragma once

#include "stirling.h"

namespace vae_fast {
namespace VAE_FAST_ISA {

// Mean and dispersion of an element. Where their logarithms are given, theta is kept within e^-69 and e^44,
// beyond which it is a Poisson distribution, and the ratio within e^-80 and e^69, so that whatever is made of
// them is a float; what is beyond is added to the logarithms of the results.
template <class T>
struct Mean {
  T theta, inverse_theta;
  T ratio;         // mu / theta
  T above, below;  // of log ratio
  T tiny;          // of -log theta
};

template <class T>
VAE_FAST_HD Mean<T> mean_of(T mu, T theta) {
  const T inverse = T(1) / theta;
  return {theta, inverse, mu * inverse, T(0), T(0), T(0)};
}

template <class T>
VAE_FAST_HD T clamp(T x, T low, T high) {
  const T least = x < low ? low : x;
  return least > high ? high : least;
}

template <class T>
VAE_FAST_HD Mean<T> mean_of_logs(T log_mu, T log_theta) {
  const T kept = clamp(log_theta, T(-69), T(44)), log_ratio = log_mu - kept;
  const T ratio = clamp(log_ratio, T(-80), T(69));
  const T above = log_ratio > T(69) ? log_ratio - T(69) : T(0);
  const T below = log_ratio < T(-80) ? T(-80) - log_ratio : T(0);
  const T tiny = log_theta < T(-69) ? T(-69) - log_theta : T(0);
  return {exponential(kept), exponential(-kept), exponential(ratio), above, below, tiny};
}

// Value, d/dmu or d/d log mu, d/dtheta or d/d log theta.
template <class T>
struct Binomial {
  T value, by_mean, by_theta;
};

// A zero, with one division for both quotients of mu and theta by their sum.
template <bool logs, class T>
VAE_FAST_HD Binomial<T> binomial_zero(Mean<T> m) {
  const T of_theta = T(1) / (T(1) + m.ratio), of_mu = m.ratio * of_theta;
  const Log1pLess<T> e = log1p_less(m.ratio, of_mu);
  const T slope = e.less + m.above;
  return {m.theta * (e.value + m.above), logs ? m.theta * of_mu : of_theta, logs ? m.theta * slope : slope};
}

// What x and theta alone decide of a count.
template <class T>
struct Saturated {
  T value, slope, sum, inverse_x;
};

// `fractions`: x may be less than 1, or no count at all. There E has no meaning; the value is split into
//
//   log Gamma(x + 1) + theta minus(x / theta) + log(1 + x / theta) / 2 + delta(theta) - delta(x + theta)
//
// and theta log(1 + mu / theta) - x log(mu (x + theta) / (theta + mu)).
template <bool fractions, class T>
VAE_FAST_HD Saturated<T> saturated(Mean<T> m, T x) {
  const T sum = x + m.theta, inverse_x = T(1) / x, inverse_sum = T(1) / sum;
  const Stirling<T> of_theta = stirling_of(m.theta, m.inverse_theta);
  const Stirling<T> of_sum = fractions
                                 ? stirling_of(sum, inverse_sum)
                                 : Stirling<T>{stirling_remainder(inverse_sum), stirling_slope(inverse_sum)};
  const T slope = multiply_add(T(0.5) * x * m.inverse_theta, inverse_sum, of_theta.slope - of_sum.slope);
  const T remainders = of_theta.remainder - of_sum.remainder + m.tiny;
  const T log_best = log_positive(T(6.283185307179586) * x * (sum * m.inverse_theta));
  const T value = T(0.5) * log_best + (stirling_remainder(inverse_x) + remainders);
  if (!fractions) return {value, slope, sum, inverse_x};
  const Log1p<T> e = log1p_and_minus(x * m.inverse_theta, sum * m.inverse_theta);
  const T difference = stirling_difference(m.theta, sum, x) + m.tiny;
  const T below = log_factorial_below_one(x) + m.theta * e.minus + T(0.5) * e.value + difference;
  const bool defined = x > T(-1) && sum > T(0);
  return {x < T(1) ? (defined ? below : T(NAN)) : x >= T(1) ? value : x, slope, sum, inverse_x};
}

// What mu adds to it.
template <bool logs, bool fractions, class T>
VAE_FAST_HD Binomial<T> binomial_count(T mu, Mean<T> m, T x, Saturated<T> s) {
  const T of_theta = T(1) / (T(1) + m.ratio);
  const T inverse_s = logs ? of_theta * m.inverse_theta : T(1) / (m.theta + mu);
  const T of_mu = logs ? m.ratio * of_theta : mu * inverse_s;
  const T u = logs ? multiply_add(x * m.inverse_theta, of_theta, -of_mu) : (x - mu) * inverse_s;
  const T theta_u = m.theta * u;
  const T near = log1p_and_minus(u, s.sum * inverse_s).minus + m.above;
  const T far = log1p_and_minus(-theta_u * s.inverse_x, s.sum * s.inverse_x * of_mu).minus + m.below;
  const Log1pLess<T> zero = log1p_less(m.ratio, of_mu);
  T value = multiply_add(m.theta, near, x * far);
  if (fractions) {
    const T by_count = x * (m.below - log_positive(of_mu * s.sum));
    value = x < T(1) ? m.theta * (zero.value + m.above) + by_count : value;
  }
  // For x = 1 both differences are nearly the same where mu is small, whatever theta is: a single count says
  // nothing about theta then. There it is the zero's derivative less mu / (theta (theta + mu)).
  const T one = zero.less + m.above - of_mu * m.inverse_theta;
  const T by_theta = x == T(1) ? one : near - s.slope;
  const bool impossible = !logs && mu == T(0);
  return {impossible ? T(HUGE_VAL) : value, logs ? -theta_u : -theta_u / mu,
          logs ? m.theta * by_theta : by_theta};
}

}  // namespace VAE_FAST_ISA
}  // namespace vae_fast
