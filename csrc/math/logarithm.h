// Logarithms over all positive numbers, and differences with them that would cancel if they were rounded
// first.
#pragma once

#include "elementary.h"

namespace vae_fast {
namespace VAE_FAST_ISA {

// f - log(1 + f) for |f| <= 0.415, where 1 + f lies in [sqrt(1/2), sqrt(2)): relative error 6e-8.
VAE_FAST_HD float minus_log1p_reduced(float f) {
  const float f2 = f * f;
  const float c01 = multiply_add(f, -0x1.555552p-2f, 0x1.000000p-1f);
  const float c23 = multiply_add(f, -0x1.99a0bap-3f, 0x1.00017ap-2f);
  const float c45 = multiply_add(f, -0x1.22e378p-3f, 0x1.549ef2p-3f);
  const float c67 = multiply_add(f, -0x1.048d1ep-3f, 0x1.0bf028p-3f);
  const float f4 = f2 * f2;
  const float low = multiply_add(f2, c23, c01);
  const float high = multiply_add(f4, 0x1.3ef1a6p-4f, multiply_add(f2, c67, c45));
  return f2 * multiply_add(f4, high, low);
}

// q = 2^n (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), for positive normal q; log q = n ln 2 + log_f.
struct Logarithm {
  float n, log_f;
};

VAE_FAST_HD Logarithm logarithm_of(float q) {
  const int32_t offset = float_bits(q) - 0x3f3504f3;
  const float scale = bits_float(0x3f800000 - (offset & static_cast<int32_t>(0xff800000u)));  // 2^-n
  const float f = multiply_add(scale, q, -1.0f);                                              // exact
  return {static_cast<float>(offset >> 23), f - minus_log1p_reduced(f)};
}

// x - log(q) for positive normal q, the larger parts of both subtracted from each other first.
VAE_FAST_HD float subtract_log(float x, float q) {
  const Logarithm log_q = logarithm_of(q);
  return subtract_ln2(x, log_q.n) - log_q.log_f;
}

VAE_FAST_HD double subtract_log(double x, double q) { return x - log(q); }

}  // namespace VAE_FAST_ISA
}  // namespace vae_fast
