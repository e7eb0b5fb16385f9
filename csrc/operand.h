// What operators (which know tensors) tell kernels (which know pointers) on every device: matrices,
// their dtypes, and the codes of the schemas. No torch header here.
#pragma once

#include <stdint.h>

namespace vae_fast {

enum class DType : int8_t { float32, float64, bfloat16, float16, uint8, boolean };

// A matrix [rows, cols] with a unit or zero column stride; absent where data is null.
struct Operand {
  void* data = nullptr;
  DType dtype = DType::float32;
  int64_t row_stride = 0;
  int64_t col_stride = 0;
};

enum class Likelihood : int64_t { bernoulli = 0, gaussian = 1 };

enum class Reduction : int64_t { none = 0, sample = 1, batchmean = 2, sum = 3, mean = 4 };

// Bits of `wants` in the likelihood operators, in the order of the returned gradients.
enum Wants : int64_t { want_param = 1, want_param_logvar = 2, want_kl = 4, want_mu = 8, want_logvar = 16 };

// Bits of `wants` in gaussian_kl_backward.
enum KlWants : int64_t { want_kl_mu = 1, want_kl_logvar = 2, want_prior_mu = 4, want_prior_logvar = 8 };

}  // namespace vae_fast
