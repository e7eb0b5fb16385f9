// Standard normal noise as a pure function of (seed, element number): the same float32 bits on every
// instruction set and backend. Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as
// 1, 2, 3") and a Box-Muller transform made of multiply, add and square root only.
//
// Element i is lane i & 3 of group i >> 2; the counter is (low 32 bits of the group, high 32 bits,
// stream, 0) and the key is the seed. No product here may be fused with a sum: that would change bits.
#pragma once

#include "elementary.h"

namespace vae_fast {
namespace VAE_FAST_ISA {

VAE_FAST_HD float unfused_multiply(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fmul_rn(a, b);
#else
  return a * b;  // the host files are compiled with -ffp-contract=off
#endif
}

VAE_FAST_HD float unfused_add(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fadd_rn(a, b);
#else
  return a + b;
#endif
}

VAE_FAST_HD float unfused_multiply_add(float a, float b, float c) {
  return unfused_add(unfused_multiply(a, b), c);
}

VAE_FAST_HD float square_root(float x) {
#ifdef __CUDA_ARCH__
  return __fsqrt_rn(x);
#else
  return __builtin_sqrtf(x);
#endif
}

struct Philox4 {
  uint32_t x, y, z, w;
};

VAE_FAST_HD Philox4 philox4x32_10(uint64_t key, uint64_t group, uint32_t stream) {
  uint32_t key0 = static_cast<uint32_t>(key);
  uint32_t key1 = static_cast<uint32_t>(key >> 32);
  uint32_t c0 = static_cast<uint32_t>(group);
  uint32_t c1 = static_cast<uint32_t>(group >> 32);
  uint32_t c2 = stream;
  uint32_t c3 = 0;
  VAE_FAST_UNROLL
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = static_cast<uint64_t>(0xD2511F53u) * c0;
    const uint64_t product1 = static_cast<uint64_t>(0xCD9E8D57u) * c2;
    const uint32_t next0 = static_cast<uint32_t>(product1 >> 32) ^ c1 ^ key0;
    const uint32_t next2 = static_cast<uint32_t>(product0 >> 32) ^ c3 ^ key1;
    c1 = static_cast<uint32_t>(product1);
    c3 = static_cast<uint32_t>(product0);
    c0 = next0;
    c2 = next2;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return {c0, c1, c2, c3};
}

// n ln 2 + log(1 + f) for f in [sqrt(1/2) - 1, sqrt(2) - 1).
VAE_FAST_HD float unfused_log(float n, float f) {
  float p = -0x1.38b590p-4f;
  p = unfused_multiply_add(p, f, 0x1.055b6cp-3f);
  p = unfused_multiply_add(p, f, -0x1.0d8540p-3f);
  p = unfused_multiply_add(p, f, 0x1.22da1cp-3f);
  p = unfused_multiply_add(p, f, -0x1.547244p-3f);
  p = unfused_multiply_add(p, f, 0x1.99a008p-3f);
  p = unfused_multiply_add(p, f, -0x1.000226p-2f);
  p = unfused_multiply_add(p, f, 0x1.555554p-2f);
  const float square = unfused_multiply(f, f);
  float log_mantissa = unfused_multiply(unfused_multiply(square, f), p);
  log_mantissa = unfused_multiply_add(square, -0.5f, log_mantissa);
  log_mantissa = unfused_add(log_mantissa, f);
  log_mantissa = unfused_multiply_add(n, 0x1.7f7d1cp-20f, log_mantissa);
  return unfused_multiply_add(n, 0x1.62e4p-1f, log_mantissa);
}

// sqrt(-2 log u) with u = bits * 2^-32 + 2^-33 in (0, 1].
VAE_FAST_HD float box_muller_radius(uint32_t bits) {
  const float u = unfused_multiply_add(static_cast<float>(bits), 0x1p-32f, 0x1p-33f);
  const int32_t offset = float_bits(u) - 0x3f3504f3;  // mantissa in [sqrt(1/2), sqrt(2))
  const float exponent = static_cast<float>(offset >> 23);
  const float f = unfused_add(bits_float((offset & 0x007fffff) + 0x3f3504f3), -1.0f);
  return square_root(unfused_multiply(unfused_log(exponent, f), -2.0f));
}

struct Pair {
  float first, second;
};

// (r cos, r sin) of the angle 2 pi bits / 2^32, reduced to an eighth of the circle in integers.
VAE_FAST_HD Pair box_muller(uint32_t radius_bits, uint32_t angle_bits) {
  const float radius = box_muller_radius(radius_bits);
  const uint32_t quadrant = (angle_bits + (1u << 29)) >> 30;
  const int32_t rest = static_cast<int32_t>(angle_bits - (quadrant << 30));
  const float x = unfused_multiply(static_cast<float>(rest), 0x1.921fb6p-30f);
  const float square = unfused_multiply(x, x);
  float s = -0x1.994eb4p-13f;
  s = unfused_multiply_add(s, square, 0x1.110760p-7f);
  s = unfused_multiply_add(s, square, -0x1.555546p-3f);
  s = unfused_multiply_add(unfused_multiply(s, square), x, x);
  float c = 0x1.9a025ap-16f;
  c = unfused_multiply_add(c, square, -0x1.6c0c8cp-10f);
  c = unfused_multiply_add(c, square, 0x1.55554ap-5f);
  c = unfused_multiply_add(unfused_multiply(c, square), square, unfused_multiply_add(square, -0.5f, 1.0f));
  const float cosine = quadrant & 1 ? s : c;
  const float sine = quadrant & 1 ? c : s;
  const float signed_cosine = (quadrant + 1) & 2 ? -cosine : cosine;
  const float signed_sine = quadrant & 2 ? -sine : sine;
  return {unfused_multiply(radius, signed_cosine), unfused_multiply(radius, signed_sine)};
}

struct Normal4 {
  float lane0, lane1, lane2, lane3;
};

// The four standard normals of one group.
VAE_FAST_HD Normal4 normal4(uint64_t seed, uint64_t group, uint32_t stream) {
  const Philox4 bits = philox4x32_10(seed, group, stream);
  const Pair low = box_muller(bits.x, bits.y);
  const Pair high = box_muller(bits.z, bits.w);
  return {low.first, low.second, high.first, high.second};
}

}  // namespace VAE_FAST_ISA
}  // namespace vae_fast
