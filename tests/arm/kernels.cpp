// Noise and formulas as the CPU kernels compute them, for the test of another processor: writes the float32
// elements FIRST to FIRST + COUNT of the normal and of the Gumbel noise of SEED, and value and derivative
// of the binary cross entropy at logits of noise and targets from 0 to 1.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vector>

#include "../../csrc/cpu/noise.h"
#include "../../csrc/math/likelihood.h"

using namespace vae_fast::portable;

int main(int, char** arguments) {
  const uint64_t seed = strtoull(arguments[1], nullptr, 10);
  const int64_t first = atoll(arguments[2]), count = atoll(arguments[3]);
  const size_t n = static_cast<size_t>(count);
  std::vector<float> normal(n), gumbel(n), value(n), derivative(n);
  draw<NormalNoise>(seed, first, first + count, normal.data());
  draw<GumbelNoise>(seed, first, first + count, gumbel.data());
  const Bernoulli<float> nll;
#pragma omp simd
  for (size_t i = 0; i < n; ++i) {
    const float target = static_cast<float>(i & 255) / 255.0f;
    const ElementNll<float> e = nll(8.0f * normal[i], 0.0f, target);
    value[i] = e.value;
    derivative[i] = e.dparam;
  }
  for (const std::vector<float>* out : {&normal, &gumbel, &value, &derivative})
    if (fwrite(out->data(), sizeof(float), n, stdout) != n) return 1;
  return 0;
}
