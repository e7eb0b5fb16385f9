// The remainder of Stirling's formula: log Gamma(y) = (y - 1/2) log y - y + log(2 pi) / 2 + remainder(1 / y).
#pragma once

#include "elementary.h"

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
VAE_FAST_HD double stirling_remainder(double reciprocal_y) {
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

}  // namespace VAE_FAST_ISA
}  // namespace vae_fast
