// Storage types to the arithmetic's type and back, on machines without instructions for it.
#pragma once

#include "elementary.h"

namespace vae_fast {
namespace VAE_FAST_ISA {

VAE_FAST_HD float bfloat16_to_float(uint16_t bits) {
  return bits_float(static_cast<int32_t>(static_cast<uint32_t>(bits) << 16));
}

VAE_FAST_HD uint16_t float_to_bfloat16(float x) {  // nearest, ties to even
  const uint32_t bits = static_cast<uint32_t>(float_bits(x));
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}

VAE_FAST_HD float float16_to_float(uint16_t half) {
  // Shift exponent and mantissa into place, then correct the exponent bias with an exact product;
  // infinity and NaN get the full exponent.
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t rest = static_cast<uint32_t>(half & 0x7fffu) << 13;
  const float scaled = bits_float(static_cast<int32_t>(rest)) * 0x1p112f;
  const uint32_t magnitude = static_cast<uint32_t>(float_bits(scaled));
  const uint32_t special = rest | 0x7f800000u;
  return bits_float(static_cast<int32_t>(sign | ((half & 0x7c00u) == 0x7c00u ? special : magnitude)));
}

VAE_FAST_HD uint16_t float_to_float16(float x) {  // nearest, ties to even
  const uint32_t bits = static_cast<uint32_t>(float_bits(x));
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  // Normal results: rebias and round in integers, which overflows into infinity by itself.
  const uint32_t normal = (magnitude - 0x38000000u + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13;
  // Below 2^-14: adding 1/2 aligns the mantissa so that the floating-point adder does the rounding.
  const float aligned = bits_float(static_cast<int32_t>(magnitude)) + 0.5f;
  const uint32_t tiny = static_cast<uint32_t>(float_bits(aligned)) - 0x3f000000u;
  uint32_t result = magnitude < 0x38800000u ? tiny : normal;
  result = magnitude >= 0x47800000u ? 0x7c00u : result;
  result = magnitude > 0x7f800000u ? 0x7e00u : result;
  return static_cast<uint16_t>(sign | result);
}

// x / 255 for x = 0, 1, ..., 255, correctly rounded without a division: both products are exact.
VAE_FAST_HD float byte_to_unit(float x) { return multiply_add(x, 0x1.0101p-32f, x * 0x1.0101p-8f); }
VAE_FAST_HD double byte_to_unit(double x) { return x / 255.0; }

}  // namespace VAE_FAST_ISA
}  // namespace vae_fast
