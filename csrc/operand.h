// What operators (which know tensors) tell kernels (which know pointers) on every device: matrices,
// their dtypes, and the codes of the schemas. No torch header here.
#pragma once

#include <stdint.h>

namespace vae_fast {

// unit8: bytes that mean x / 255, the targets of a likelihood of numbers in [0, 1]. The other integers mean
// themselves.
enum class DType : int8_t { float32, float64, bfloat16, float16, uint8, boolean, int16, int32, int64, unit8 };

// A matrix [rows, cols] with a unit or zero column stride; absent where data is null.
struct Operand {
  void* data = nullptr;
  DType dtype = DType::float32;
  int64_t row_stride = 0;
  int64_t col_stride = 0;
};

// The codes of vae_fast/likelihoods.py. A Gaussian without log-variance has one parameter less.
enum class Likelihood : int64_t {
  bernoulli = 0,
  gaussian = 1,
  laplace = 2,
  poisson = 3,
  negative_binomial = 4,
  zero_inflated_negative_binomial = 5,
  negative_binomial_mixture = 6
};
constexpr bool is_of_counts(Likelihood likelihood) { return likelihood >= Likelihood::poisson; }

// Whether the first of so many parameters are logits of shares, and the last one is the logarithm of each
// sample's size.
constexpr bool ends_with_size(Likelihood likelihood, int parameters) {
  switch (likelihood) {
    case Likelihood::poisson: return parameters == 2;
    case Likelihood::negative_binomial: return parameters == 3;
    case Likelihood::zero_inflated_negative_binomial: return parameters == 4;
    default: return false;
  }
}

constexpr int most_parameters = 5;  // of a likelihood
constexpr int most_constants = 4;

// Which elements share a value of a parameter; the gradient is their sum.
enum class Binding : int8_t { element, column, sample, one };

enum class Reduction : int64_t { none = 0, sample = 1, batchmean = 2, sum = 3, mean = 4, draw = 5 };

// Bits of `wants` in the likelihood operators, in the order of the returned gradients: parameter k of the
// likelihood has bit k.
enum Wants : int64_t { want_kl = 1 << 8, want_mu = 1 << 9, want_logvar = 1 << 10 };

// Bits of `wants` in gaussian_kl_backward.
enum KlWants : int64_t { want_kl_mu = 1, want_kl_logvar = 2, want_prior_mu = 4, want_prior_logvar = 8 };

}  // namespace vae_fast
