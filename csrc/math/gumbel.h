// Standard Gumbel noise as a pure function of (seed, element number): the same float32 bits on every
// instruction set and backend, numbered like the normal noise, from another stream of Philox. An element is
// -log(E) with E = -log(u) exponential and u uniform; both tails keep the 32 bits that were drawn.
#pragma once

#include "normal.h"

namespace vae_fast {
namespace VAE_FAST_ISA {

// log(u) for a normal u > 0; `minus_one` is u - 1, which may be known better than u is.
VAE_FAST_HD float unfused_log_of(float u, float minus_one) {
  const int32_t offset = float_bits(u) - 0x3f3504f3;  // mantissa in [sqrt(1/2), sqrt(2))
  const int32_t n = offset >> 23;
  const float scaled = unfused_add(bits_float((offset & 0x007fffff) + 0x3f3504f3), -1.0f);
  return unfused_log(static_cast<float>(n), n ? scaled : minus_one);
}

// -log(-log(u)) with u = bits * 2^-32 + 2^-33. Of u and 1 - u the smaller one, t, is exact to a float.
VAE_FAST_HD float gumbel(uint32_t bits) {
  const bool upper = bits >> 31;
  const uint32_t smaller = upper ? ~bits : bits;
  const float t = unfused_multiply_add(static_cast<float>(smaller), 0x1p-32f, 0x1p-33f);
  const float u = upper ? unfused_add(1.0f, -t) : t;
  const float exponential = -unfused_log_of(u, -t);
  return -unfused_log_of(exponential, unfused_add(exponential, -1.0f));
}

struct Gumbel4 {
  float lane0, lane1, lane2, lane3;
};

// The four of one group.
VAE_FAST_HD Gumbel4 gumbel4(uint64_t seed, uint64_t group, uint32_t stream) {
  const Philox4 bits = philox4x32_10(seed, group, stream);
  return {gumbel(bits.x), gumbel(bits.y), gumbel(bits.z), gumbel(bits.w)};
}

}  // namespace VAE_FAST_ISA
}  // namespace vae_fast
