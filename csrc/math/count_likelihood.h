// Functors of negative binomials (see likelihood.h).
#pragma once

#include "likelihood.h"
#include "mixture.h"
#include "negative_binomial.h"

namespace vae_fast {
namespace VAE_FAST_ISA {

template <bool logs, class T>
VAE_FAST_HD Mean<T> mean_at(T mu, T theta) {
  return logs ? mean_of_logs(mu, theta) : mean_of(mu, theta);
}

// Of mu and theta, or of their logarithms.
template <class T, bool logs, bool fractions = false>
struct NegativeBinomial {
  static constexpr int parameters = 2, derived = 0;
  static constexpr bool zeros_apart = true;
  using General = NegativeBinomial<T, logs, true>;
  VAE_FAST_HD static void derive(T, T*) {}
  VAE_FAST_HD static Nll<T, 2> zero(const T* p) {
    const Binomial<T> e = binomial_zero<logs>(mean_at<logs>(p[0], p[1]));
    return {e.value, {e.by_mean, e.by_theta}};
  }
  VAE_FAST_HD static Nll<T, 2> at(const T* p, const T*, T target) {
    const Mean<T> m = mean_at<logs>(p[0], p[1]);
    const Saturated<T> s = saturated<fractions>(m, target);
    const Binomial<T> e = binomial_count<logs, fractions>(p[0], m, target, s);
    return {s.value + e.value, {e.by_mean, e.by_theta}};
  }
};

// The same with zeros inflated: a gate's logit is that of another zero.
template <class T, bool logs, bool fractions = false>
struct ZeroInflated {
  static constexpr int parameters = 3, derived = 0;
  static constexpr bool zeros_apart = true;
  using Inner = NegativeBinomial<T, logs>;
  using General = ZeroInflated<T, logs, true>;
  VAE_FAST_HD static void derive(T, T*) {}
  VAE_FAST_HD static Nll<T, 3> at(const T* p, const T* d, T target) {
    const Nll<T, 2> nb = NegativeBinomial<T, logs, fractions>::at(p, d, target);
    const T gate = p[2], e = exponential_of_minus_magnitude(gate);
    const bool positive = gate > T(0);
    const T softplus = log1p_unit_plus(e, positive ? gate : T(0));
    return {nb.value + softplus, {nb.grad[0], nb.grad[1], (positive ? T(1) : e) / (T(1) + e)}};
  }
};

// Of mu1, theta1, mu2, the logit of the first component, and theta2. Of targets of every kind: the code of
// counts alone would be as long again.
template <class T, bool logs>
struct Mixture {
  static constexpr int parameters = 5, derived = 0;
  static constexpr bool zeros_apart = true;
  using General = Mixture;
  VAE_FAST_HD static void derive(T, T*) {}
  VAE_FAST_HD static Nll<T, 5> of(Binomial<T> first, Binomial<T> second, T gate) {
    const T difference = second.value - first.value;
    const bool swap = difference < T(0);
    const Mixed<T> m = mixed(swap ? -difference : difference, swap ? -gate : gate);
    const T one = swap ? m.by_a : m.other, two = swap ? m.other : m.by_a;
    const T least = swap ? second.value : first.value;
    return {least + log1p_less(m.r, T(0)).value + m.excess,
            {share(one, first.by_mean), share(one, first.by_theta), share(two, second.by_mean),
             swap ? -m.by_gate : m.by_gate, share(two, second.by_theta)}};
  }
  VAE_FAST_HD static Nll<T, 5> zero(const T* p) {
    return of(binomial_zero<logs>(mean_at<logs>(p[0], p[1])), binomial_zero<logs>(mean_at<logs>(p[2], p[4])),
              p[3]);
  }
  VAE_FAST_HD static Nll<T, 5> at(const T* p, const T*, T target) {
    return of(component(p[0], p[1], target), component(p[2], p[4], target), p[3]);
  }

 private:
  // Where a component is impossible, its slope is infinite and its posterior zero.
  VAE_FAST_HD static T share(T posterior, T slope) { return posterior * factor_of_nonzero(slope, posterior); }

  VAE_FAST_HD static Binomial<T> component(T mu, T theta, T target) {
    const Mean<T> m = mean_at<logs>(mu, theta);
    const Saturated<T> s = saturated<true>(m, target);
    Binomial<T> e = binomial_count<logs, true>(mu, m, target, s);
    e.value += s.value;
    return e;
  }
};

// The same with one theta for both components, which what theta and the target alone decide is taken out of.
template <class T, bool logs>
struct MixtureOfOneTheta {
  static constexpr int parameters = 4, derived = 0;
  static constexpr bool zeros_apart = true;
  using General = MixtureOfOneTheta;
  VAE_FAST_HD static void derive(T, T*) {}
  VAE_FAST_HD static Nll<T, 4> of(Binomial<T> first, Binomial<T> second, T gate, T shared) {
    const Nll<T, 5> e = Mixture<T, logs>::of(first, second, gate);
    return {e.value + shared, {e.grad[0], e.grad[1] + e.grad[4], e.grad[2], e.grad[3]}};
  }
  VAE_FAST_HD static Nll<T, 4> zero(const T* p) {
    return of(binomial_zero<logs>(mean_at<logs>(p[0], p[1])), binomial_zero<logs>(mean_at<logs>(p[2], p[1])),
              p[3], T(0));
  }
  VAE_FAST_HD static Nll<T, 4> at(const T* p, const T*, T target) {
    const Mean<T> m1 = mean_at<logs>(p[0], p[1]), m2 = mean_at<logs>(p[2], p[1]);
    const Saturated<T> s = saturated<true>(m1, target);
    return of(binomial_count<logs, true>(p[0], m1, target, s),
              binomial_count<logs, true>(p[2], m2, target, s), p[3], s.value);
  }
};

}  // namespace VAE_FAST_ISA
}  // namespace vae_fast
