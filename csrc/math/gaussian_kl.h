// KL divergence of diagonal Gaussians, one latent dimension (nats), and its partial derivatives.
#pragma once

#include "elementary.h"

namespace vae_fast {
namespace VAE_FAST_ISA {

// KL(N(mu, e^logvar) || N(0, 1)) = (mu^2 + e^logvar - 1 - logvar) / 2. Never negative.
template <class T>
VAE_FAST_HD T kl_standard(T mu, T logvar) {
  return T(0.5) * (mu * mu + expm1_and_minus(logvar).minus);
}

// d/dmu is mu itself; d/dlogvar = (e^logvar - 1) / 2.
template <class T>
VAE_FAST_HD T kl_standard_dlogvar(T logvar) {
  return T(0.5) * expm1_and_minus(logvar).value;
}

template <class T>
struct KLGeneral {
  T value, dmu, dlogvar, dprior_mu, dprior_logvar;
};

// KL(N(mu, e^logvar) || N(prior_mu, e^prior_logvar))
//   = ((mu - prior_mu)^2 e^-prior_logvar + e^d - 1 - d) / 2 with d = logvar - prior_logvar.
template <class T>
VAE_FAST_HD KLGeneral<T> kl_general(T mu, T logvar, T prior_mu, T prior_logvar) {
  const T d = logvar - prior_logvar;
  const T difference = mu - prior_mu;
  const T inverse = factor_of_nonzero(exponential(T(-0.5) * prior_logvar), difference);
  const T scaled = difference * inverse;
  const T mahalanobis = scaled * scaled;
  const Expm1<T> e = expm1_and_minus(d);
  KLGeneral<T> out;
  out.value = T(0.5) * (mahalanobis + e.minus);
  out.dmu = scaled * inverse;
  out.dlogvar = T(0.5) * e.value;
  out.dprior_mu = -out.dmu;
  out.dprior_logvar = T(-0.5) * (mahalanobis + e.value);
  return out;
}

}  // namespace VAE_FAST_ISA
}  // namespace vae_fast
