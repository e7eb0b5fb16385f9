// The remainder of Stirling's formula: log Gamma(y) = (y - 1/2) log y - y + log(2 pi) / 2 + remainder(1 / y).
#pragma once

#include "logarithm.h"

namespace vae_fast {
namespace VAE_FAST_ISA {

// For y >= 1, from its reciprocal: absolute error 6e-9.
VAE_FAST_HD float stirling_remainder(float reciprocal_y) {
  const float r = reciprocal_y, r2 = r * r;
  const float c01 = multiply_add(r, -0x1.422542p-24f, 0x1.555554p-4f);
  const float c23 = multiply_add(r, -0x1.a62dcep-15f, -0x1.6b846ep-9f);
  const float c45 = multiply_add(r, -0x1.4a09fep-11f, 0x1.11ca48p-10f);
  const float high = multiply_add(r2, 0x1.1f6018p-13f, c45);
  return r * multiply_add(r2, multiply_add(r2, high, c23), c01);
}

// For y >= 1: the recurrence Gamma(y + 1) = y Gamma(y) up to 16, then the asymptotic series.
VAE_FAST_HD_DOUBLE double stirling_remainder(double reciprocal_y) {
  double y = 1 / reciprocal_y, shift = 0;
  for (int step = 0; step < 16; ++step) {
    shift += (y + 0.5) * log1p(1 / y) - 1;
    y += 1;
  }
  const double q = 1 / (y * y);
  const double series =
      1.0 / 12 -
      q * (1.0 / 360 - q * (1.0 / 1260 - q * (1.0 / 1680 - q * (1.0 / 1188 - q * (691.0 / 360360)))));
  return shift + series / y;
}

// -d remainder / dy >= 0 for y >= 1, from its reciprocal: relative error 1.4e-7.
VAE_FAST_HD float stirling_slope(float reciprocal_y) {
  const float r = reciprocal_y, r2 = r * r;
  const float c01 = multiply_add(r, -0x1.b0d85cp-20f, 0x1.555558p-4f);
  const float c23 = multiply_add(r, -0x1.9afd3ep-12f, -0x1.0fbcbcp-7f);
  const float c45 = multiply_add(r, -0x1.3a62acp-8f, 0x1.7ed8f6p-8f);
  const float c67 = multiply_add(r, -0x1.0f579cp-12f, 0x1.d3584ep-10f);
  const float r4 = r2 * r2;
  return r2 * multiply_add(r4, multiply_add(r2, c67, c45), multiply_add(r2, c23, c01));
}

VAE_FAST_HD_DOUBLE double stirling_slope(double reciprocal_y) {
  double y = 1 / reciprocal_y, shift = 0;
  for (int step = 0; step < 16; ++step) {
    shift += 0.5 / y + 0.5 / (y + 1) - log1p(1 / y);
    y += 1;
  }
  const double q = 1 / (y * y);
  return shift +
         q * (1.0 / 12 -
              q * (1.0 / 120 - q * (1.0 / 252 - q * (1.0 / 240 - q * (1.0 / 132 - q * (691.0 / 32760))))));
}

template <class T>
struct Stirling {
  T remainder, slope;
};

// Both for any y > 0: below 1 by one step of the recurrence Gamma(y + 1) = y Gamma(y).
VAE_FAST_HD Stirling<float> stirling_of(float y, float reciprocal_y) {
  const bool small = y < 1.0f;
  const float next = y + 1.0f;
  const float r = small ? 1.0f / next : reciprocal_y;
  const float log_ratio = log_positive(next * reciprocal_y);
  const float remainder_step = multiply_add(y + 0.5f, log_ratio, -1.0f);
  const float slope_step = multiply_add(0.5f, reciprocal_y + r, -log_ratio);
  return {stirling_remainder(r) + (small ? remainder_step : 0.0f),
          stirling_slope(r) + (small ? slope_step : 0.0f)};
}
VAE_FAST_HD Stirling<double> stirling_of(double, double reciprocal_y) {
  return {stirling_remainder(reciprocal_y), stirling_slope(reciprocal_y)};
}

// remainder(1 / y) - remainder(1 / (y + x)) for y > 0 and y + x > 0, exact relative to x, however small x is:
// below 1 by one step of the recurrence for both, whose logarithms are taken together, and by the divided
// difference of the polynomial above.
VAE_FAST_HD float stirling_difference(float y, float sum, float x) {
  const bool small = y < 1.0f || sum < 1.0f;
  const float ratio = x / (y * (sum + 1.0f)), r_sum = 1.0f / sum;
  const float log_steps = log1p_and_minus(ratio, (y + 1.0f) / y * (sum / (sum + 1.0f))).value;
  const float step = multiply_add(y + 0.5f, log_steps, -x * log_positive((sum + 1.0f) * r_sum));
  const float lift = small ? 1.0f : 0.0f;
  const float r = 1.0f / (y + lift), s = 1.0f / (sum + lift);
  float value = 0x1.1f6018p-13f, difference = value;
  const auto next = [&](float coefficient) {
    value = multiply_add(value, r, coefficient);
    difference = multiply_add(difference, s, value);
  };
  next(-0x1.4a09fep-11f);
  next(0x1.11ca48p-10f);
  next(-0x1.a62dcep-15f);
  next(-0x1.6b846ep-9f);
  next(-0x1.422542p-24f);
  next(0x1.555554p-4f);
  return multiply_add(x * r * s, difference, small ? step : 0.0f);
}
VAE_FAST_HD_DOUBLE double stirling_difference(double y, double sum, double) {
  return stirling_remainder(1 / y) - stirling_remainder(1 / sum);
}

// log Gamma(x + 1) for -1 < x < 1; below 0 by a step of the recurrence. Relative error 3e-7.
VAE_FAST_HD float log_factorial_below_one(float x) {
  const bool negative = x < 0.0f;
  const float z = negative ? x + 1.0f : x, z2 = z * z;
  const float c01 = multiply_add(z, -0x1.f64520p-3f, 0x1.2788d0p-1f);
  const float c23 = multiply_add(z, -0x1.d4a6f4p-4f, 0x1.3e31ccp-3f);
  const float c45 = multiply_add(z, -0x1.031ef8p-4f, 0x1.68bb98p-4f);
  const float c67 = multiply_add(z, -0x1.c348d8p-7f, 0x1.2a098ep-5f);
  const float z4 = z2 * z2;
  const float high = multiply_add(z4, 0x1.410b1cp-9f, multiply_add(z2, c67, c45));
  const float polynomial = multiply_add(z4, high, multiply_add(z2, c23, c01));
  const float above_zero = z * (negative ? x : x - 1.0f) * polynomial;
  return negative ? above_zero - log1p_and_minus(x, z).value : above_zero;
}
// Not by lgamma of the C library, which writes a global variable.
VAE_FAST_HD_DOUBLE double log_factorial_below_one(double x) {
  const double y = x + 2;
  const double gamma = (y - 0.5) * log(y) - y + 0.9189385332046728 + stirling_remainder(1 / y);
  return x == 0 ? 0 : gamma - log1p(x);
}

// The same for x >= 1, by Stirling's formula.
template <class T>
VAE_FAST_HD T log_factorial_from_one(T x) {
  const T log_x = log_positive(x);
  return x * log_x - x + (T(0.5) * (log_x + T(1.8378770664093453)) + stirling_remainder(T(1) / x));
}

// Over all numbers: NaN for -1 and less.
template <class T>
VAE_FAST_HD T log_factorial(T x) {
  const bool small = x < T(1);
  const T below = log_factorial_below_one(small ? x : T(0)), above = log_factorial_from_one(small ? T(1) : x);
  return small ? (x > T(-1) ? below : T(NAN)) : above;
}

}  // namespace VAE_FAST_ISA
}  // namespace vae_fast
