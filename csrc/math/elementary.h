// exp, log1p on [0, 1] and friends: branch-free float polynomials that compilers vectorise, exact to
// about 1.5 units in the last place. Coefficients: minimax fits (Remez) rounded to float. The double
// overloads call the C library: they serve gradient checks, where exactness matters and speed does not.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "config.h"

namespace vae_fast {
namespace VAE_FAST_ISA {

VAE_FAST_HD int32_t float_bits(float x) {
#ifdef __CUDA_ARCH__
  return __float_as_int(x);
#else
  int32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
#endif
}

VAE_FAST_HD float bits_float(int32_t bits) {
#ifdef __CUDA_ARCH__
  return __int_as_float(bits);
#else
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
#endif
}

// a * b + c, fused where the machine has the instruction. Without it fma() is a library call, 25 times
// slower than the two operations.
VAE_FAST_HD float multiply_add(float a, float b, float c) {
#if defined(__CUDA_ARCH__) || defined(__FMA__) || defined(__aarch64__) || defined(VAE_FAST_FMA)
  return fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

// Over all floats: 0 below -104, inf above 88.73, gradual underflow in between, NaN to NaN.
VAE_FAST_HD float exponential(float x) {
  x = -104.0f > x ? -104.0f : x;
  x = 89.0f < x ? 89.0f : x;
  // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits, NaN included.
  const float magic = 12582912.0f;
  const float shifted = multiply_add(x, 1.44269502f, magic);
  const float n = shifted - magic;
  float r = multiply_add(n, -0x1.62e4p-1f, x);  // ln 2 in two parts; the first product is exact
  r = multiply_add(n, -0x1.7f7d1cp-20f, r);
  float q = 0x1.6a244cp-10f;
  q = multiply_add(q, r, 0x1.1239d4p-7f);
  q = multiply_add(q, r, 0x1.5558f2p-5f);
  q = multiply_add(q, r, 0x1.555492p-3f);
  q = multiply_add(q, r, 0x1.fffffcp-2f);
  const float p = multiply_add(r * r, q, r) + 1.0f;
  // 2^n in two factors, so that neither leaves the range of normal floats.
  const int32_t i = float_bits(shifted) - float_bits(magic);
  const int32_t half = i >> 1;
  const float scale0 = bits_float((half + 127) << 23);
  const float scale1 = bits_float((i - half + 127) << 23);
  return p * scale0 * scale1;
}

// log(1 + x) for x in [0, 1].
VAE_FAST_HD float log1p_unit(float x) {
  float p = -0x1.a932fap-9f;
  p = multiply_add(p, x, 0x1.453ecep-6f);
  p = multiply_add(p, x, -0x1.d29c8cp-5f);
  p = multiply_add(p, x, 0x1.b2533ep-4f);
  p = multiply_add(p, x, -0x1.397558p-3f);
  p = multiply_add(p, x, 0x1.92f692p-3f);
  p = multiply_add(p, x, -0x1.ff0f86p-3f);
  p = multiply_add(p, x, 0x1.554c80p-2f);
  p = multiply_add(p, x, -0x1.ffffbep-2f);
  return multiply_add(p * x, x, x);
}

// exp(x) - 1 - x. Near 0 a series, because the difference cancels: at x = 1e-3 the result is 5e-7.
VAE_FAST_HD float expm1_minus(float x) {
  float s = 0x1.731f64p-19f;
  s = multiply_add(s, x, 0x1.a55064p-16f);
  s = multiply_add(s, x, 0x1.a01ea8p-13f);
  s = multiply_add(s, x, 0x1.6c0f74p-10f);
  s = multiply_add(s, x, 0x1.111108p-7f);
  s = multiply_add(s, x, 0x1.55555cp-5f);
  s = multiply_add(s, x, 0x1.555556p-3f);
  s = multiply_add(s, x, 0.5f);
  const float series = x * x * s;
  const float direct = exponential(x) - 1.0f - x;
  return x > -0.75f && x < 0.75f ? series : direct;
}

VAE_FAST_HD double exponential(double x) { return exp(x); }
VAE_FAST_HD double log1p_unit(double x) { return log1p(x); }
VAE_FAST_HD double expm1_minus(double x) {
  // Below 2^-10 five terms are exact in double; above, expm1 keeps 40 bits of the difference.
  const double series = x * x * (1.0 / 2 + x * (1.0 / 6 + x * (1.0 / 24 + x * (1.0 / 120 + x / 720))));
  return x > -0x1p-10 && x < 0x1p-10 ? series : expm1(x) - x;
}

}  // namespace VAE_FAST_ISA
}  // namespace vae_fast
