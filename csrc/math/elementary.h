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

VAE_FAST_HD double multiply_add(double a, double b, double c) { return a * b + c; }

// A factor of a, made zero where a is: a mean that equals its target costs nothing, however small the
// variance.
template <class T>
VAE_FAST_HD T factor_of_nonzero(T factor, T a) {
  return a == T(0) ? T(0) : factor;
}

// exp(r) - 1 for |r| <= ln(2) / 2, its polynomial in pairs (Estrin): short chains keep the units busy.
VAE_FAST_HD float expm1_reduced(float r) {
  const float square = r * r;
  const float low = multiply_add(r, 0x1.555492p-3f, 0x1.fffffcp-2f);
  const float middle = multiply_add(r, 0x1.1239d4p-7f, 0x1.5558f2p-5f);
  const float q = multiply_add(square, multiply_add(square, 0x1.6a244cp-10f, middle), low);
  return multiply_add(square, q, r);
}

// x - n ln 2, with ln 2 in two parts; the first product is exact.
VAE_FAST_HD float subtract_ln2(float x, float n) {
  return multiply_add(n, -0x1.7f7d1cp-20f, multiply_add(n, -0x1.62e4p-1f, x));
}

// Over all floats: 0 below -104, inf above 88.73, gradual underflow in between, NaN to NaN.
VAE_FAST_HD float exponential(float x) {
  x = -104.0f > x ? -104.0f : x;
  x = 89.0f < x ? 89.0f : x;
  // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits, NaN included.
  const float magic = 12582912.0f;
  const float shifted = multiply_add(x, 1.44269502f, magic);
  const float p = expm1_reduced(subtract_ln2(x, shifted - magic)) + 1.0f;
  // 2^n in two factors, so that neither leaves the range of normal floats.
  const int32_t n = float_bits(shifted) - float_bits(magic);
  const int32_t half = n >> 1;
  return p * bits_float((half + 127) << 23) * bits_float((n - half + 127) << 23);
}

// exp(-|x|), the hot one: 0 below 2^-126.5 instead of gradual underflow, so that 2^n is one shift.
VAE_FAST_HD float exponential_of_minus_magnitude(float x) {
  const float magnitude = bits_float(float_bits(x) & 0x7fffffff);
#ifdef __CUDA_ARCH__
  // GPUs have 2^x in hardware; what rounding took from the exponent is given back.
  const float exponent = __fmul_rn(magnitude, -1.44269502f);
  const float rest =
      multiply_add(magnitude, -0x1.4ae0c0p-26f, multiply_add(magnitude, -1.44269502f, -exponent));
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(exponent));
  return magnitude > 87.5f ? 0.0f : multiply_add(__fmul_rn(power, rest), 0.693147182f, power);
#else
  const float magic = 12582912.0f + 127.0f;  // with the exponent's bias: the low bits are n + 127
  const float shifted = multiply_add(magnitude, -1.44269502f, magic);
  const float m = expm1_reduced(subtract_ln2(-magnitude, shifted - magic));
  const float scale = bits_float(static_cast<int32_t>(static_cast<uint32_t>(float_bits(shifted)) << 23));
  // Selecting here, not clamping above, keeps the comparison off the chain of dependent operations.
  return magnitude > 87.5f ? 0.0f : multiply_add(scale, m, scale);
#endif
}

// 1 / x for x in [1, 2].
VAE_FAST_HD float reciprocal(float x) {
#ifdef __CUDA_ARCH__
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
#else
  return 1.0f / x;
#endif
}

// log(1 + x) + addend for x in [0, 1].
VAE_FAST_HD float log1p_unit_plus(float x, float addend) {
  const float x2 = x * x;
  const float c01 = multiply_add(x, -0x1.fffeacp-2f, 0x1.fffffep-1f);
  const float c23 = multiply_add(x, -0x1.fcc8c6p-3f, 0x1.553004p-2f);
  const float c45 = multiply_add(x, -0x1.17d2bep-3f, 0x1.874a7ep-3f);
  const float c67 = multiply_add(x, -0x1.e369dcp-6f, 0x1.4069d2p-4f);
  const float low = multiply_add(x2, c23, c01);
  const float middle = multiply_add(x2, c67, c45);
  const float x4 = x2 * x2;
  const float high = multiply_add(x4, 0x1.56edf8p-8f, middle);
  return multiply_add(x, multiply_add(x4, high, low), addend);
}

template <class T>
struct Expm1 {
  T value;  // exp(x) - 1
  T minus;  // exp(x) - 1 - x
};

// Near 0 a series, because both differences cancel: at x = 1e-3 the second one is 5e-7. Elsewhere each
// has its own difference: adding x back to the second one would lose the digits that |x| took from it.
VAE_FAST_HD Expm1<float> expm1_and_minus(float x) {
  float s = 0x1.731f64p-19f;
  s = multiply_add(s, x, 0x1.a55064p-16f);
  s = multiply_add(s, x, 0x1.a01ea8p-13f);
  s = multiply_add(s, x, 0x1.6c0f74p-10f);
  s = multiply_add(s, x, 0x1.111108p-7f);
  s = multiply_add(s, x, 0x1.55555cp-5f);
  s = multiply_add(s, x, 0x1.555556p-3f);
  s = multiply_add(s, x, 0.5f);
  const float series = x * x * s;
  const float direct = exponential(x) - 1.0f;
  const bool near = x > -0.75f && x < 0.75f;
  return {near ? series + x : direct, near ? series : direct - x};
}

VAE_FAST_HD double reciprocal(double x) { return 1.0 / x; }
VAE_FAST_HD double exponential(double x) { return exp(x); }
VAE_FAST_HD double exponential_of_minus_magnitude(double x) { return exp(-fabs(x)); }
VAE_FAST_HD double log1p_unit_plus(double x, double addend) { return log1p(x) + addend; }
VAE_FAST_HD Expm1<double> expm1_and_minus(double x) {
  // Below 2^-10 five terms are exact in double; above, expm1 keeps 40 bits of the difference.
  const double series = x * x * (1.0 / 2 + x * (1.0 / 6 + x * (1.0 / 24 + x * (1.0 / 120 + x / 720))));
  const double value = expm1(x);
  return {value, x > -0x1p-10 && x < 0x1p-10 ? series : value - x};
}

}  // namespace VAE_FAST_ISA
}  // namespace vae_fast
