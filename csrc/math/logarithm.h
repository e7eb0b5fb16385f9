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

// log(q) for positive normal q.
VAE_FAST_HD float log_positive(float q) { return -subtract_log(0.0f, q); }
VAE_FAST_HD double log_positive(double q) { return log(q); }

// log(1 + t) for t >= 0, and less v = t / (1 + t), which it nearly equals near 0.
template <class T>
struct Log1pLess {
  T value, less;
};
VAE_FAST_HD Log1pLess<float> log1p_less(float t, float v) {
  const int32_t offset = float_bits(1.0f + t) - 0x3f3504f3;
  const float n = static_cast<float>(offset >> 23);
  const float scale = bits_float(0x3f800000 - (offset & static_cast<int32_t>(0xff800000u)));  // 2^-n
  const float f = multiply_add(scale, t, scale - 1.0f);
  const float rest = minus_log1p_reduced(f);
  const float value = subtract_ln2(f - rest, -n);
  // t - v = t v; else the constants first, which cancel.
  const float more = n == 0.0f ? t * v : multiply_add(scale, t, subtract_ln2(scale - 1.0f, -n) - v);
  return {t < HUGE_VALF ? value : t, more - rest};
}
VAE_FAST_HD_DOUBLE Log1pLess<double> log1p_less(double t, double v) {
  const double value = log1p(t);
  double series = 0;  // of log(1 + t) - t / (1 + t), alternating
  for (int k = 17; k >= 2; --k) series = 1.0 - 1.0 / k - t * series;
  return {value, t < 0.05 ? t * t * series : value - v};
}

template <class T>
struct Log1p {
  T value;  // log(1 + t)
  T minus;  // t - log(1 + t)
};

// Both with q = 1 + t > 0, each given as it is known best: near t = -1 q has the digits. Reduced to q = 2^n
// (1 + f), the difference is t - f - n ln 2 + (f - log(1 + f)): what stands before the last term vanishes by
// itself at n = 0, and has one rounding at n = 1 and -1, where it nearly cancels.
VAE_FAST_HD Log1p<float> log1p_and_minus(float t, float q) {
  const int32_t offset = float_bits(q) - 0x3f3504f3;
  const float n = static_cast<float>(offset >> 23);
  const float scale = bits_float(0x3f800000 - (offset & static_cast<int32_t>(0xff800000u)));  // 2^-n
  const float less = scale - 1.0f;
  const bool low = n < -1.0f;
  const float f = multiply_add(scale, low ? q : t, low ? -1.0f : less);
  const float rest = minus_log1p_reduced(f);
  const float difference = multiply_add(low ? 0.0f : -less, t, subtract_ln2(low ? t - f : -less, n));
  const bool finite = q < HUGE_VALF;
  return {finite ? subtract_ln2(f - rest, -n) : q, finite ? difference + rest : q};
}
VAE_FAST_HD_DOUBLE Log1p<double> log1p_and_minus(double t, double q) {
  const bool near = t > -0.5 && t < 1;
  const double value = near ? log1p(t) : log(q);
  double series = 0;
  for (int k = 17; k >= 2; --k) series = 1.0 / k - t * series;
  return {value, t > -0.05 && t < 0.05 ? t * t * series : t - value};
}

}  // namespace VAE_FAST_ISA
}  // namespace vae_fast
