// Mixtures of two components of which the better one costs nothing: -log(sigma(g) + sigma(-g) e^-a), a >= 0.
#pragma once

#include "logarithm.h"

namespace vae_fast {
namespace VAE_FAST_ISA {

// value = log(1 + r) + excess; its derivative by a, which is the posterior of the component that a belongs
// to, that of the other one, and the derivative by g.
template <class T>
struct Mixed {
  T r, excess, by_a, other, by_gate;
};

// As log(1 + r) with r >= 0 and -r sigma(g): nothing cancels, wherever the exponentials lie.
VAE_FAST_HD Mixed<float> mixed(float a, float gate) {
  // Beyond 80 in both exponents only their difference counts.
  const float less = -gate < a ? -gate : a;
  const float excess = less > 80.0f ? less - 80.0f : 0.0f;
  const float kept = a - excess;
  const float e = exponential_of_minus_magnitude(gate + excess);
  // e^-a and 1 - e^-a from one reduction
  const float magic = 12582912.0f + 127.0f;
  const float shifted = multiply_add(kept, -1.44269502f, magic);
  const float m = expm1_reduced(subtract_ln2(-kept, shifted - magic));
  const float scale = bits_float(static_cast<int32_t>(static_cast<uint32_t>(float_bits(shifted)) << 23));
  const bool gone = kept > 87.5f;
  const float left = gone ? 0.0f : multiply_add(scale, m, scale);
  const float rest = gone ? 1.0f : multiply_add(-scale, m, 1.0f - scale);
  const bool positive = gate > 0.0f;
  // sigma(-g) and sigma(g) over the larger of them
  const float weight = positive ? e : 1.0f, other = positive ? 1.0f : e;
  const float both = 1.0f + e, sum = multiply_add(weight, left, other);
  const float inverse = 1.0f / (sum * both);  // one division for two quotients
  const float scaled = weight * (inverse * both), r = rest * scaled;
  return {r, excess, left * scaled, other * (inverse * both), -r * other * (inverse * sum)};
}
VAE_FAST_HD_DOUBLE Mixed<double> mixed(double a, double gate) {
  const double less = -gate < a ? -gate : a;
  const double excess = less > 600 ? less - 600 : 0;
  const double left = exp(excess - a), rest = -expm1(excess - a), e = exp(-fabs(gate + excess));
  const double weight = gate > 0 ? e : 1, other = gate > 0 ? 1 : e;
  const double inverse = 1 / (weight * left + other), r = weight * rest * inverse;
  return {r, excess, weight * left * inverse, other * inverse, -r * other / (1 + e)};
}

}  // namespace VAE_FAST_ISA
}  // namespace vae_fast
