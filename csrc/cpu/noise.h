// Noise of a run of elements: four of a group at once, vectorised over the groups.
#pragma once

#include "../math/gumbel.h"
#include "piece.h"

namespace vae_fast {
namespace VAE_FAST_ISA {

struct NormalNoise {
  VAE_FAST_HD static Normal4 four(uint64_t seed, uint64_t group) { return normal4(seed, group, 0); }
};

struct GumbelNoise {
  VAE_FAST_HD static Gumbel4 four(uint64_t seed, uint64_t group) { return gumbel4(seed, group, 1); }
};

// Noise of the elements [begin, end).
template <class Noise>
VAE_FAST_NOINLINE void draw(uint64_t seed, int64_t begin, int64_t end, float* out) {
  constexpr int64_t groups = piece_length / 4;
  alignas(64) float lane0[groups], lane1[groups], lane2[groups], lane3[groups];
  alignas(64) float block[piece_length];
  for (int64_t element = begin & ~int64_t(3); element < end; element += piece_length) {
    const uint64_t first = static_cast<uint64_t>(element) >> 2;
    const int64_t last = minimum(element + piece_length, end);
    const int64_t n = (last - element + 3) >> 2;
    const int64_t whole_vectors = (n + 15) & ~int64_t(15);  // groups to spare cost less than a scalar tail
#pragma omp simd
    for (int64_t g = 0; g < whole_vectors; ++g) {
      const auto four = Noise::four(seed, first + static_cast<uint64_t>(g));
      lane0[g] = four.lane0;
      lane1[g] = four.lane1;
      lane2[g] = four.lane2;
      lane3[g] = four.lane3;
    }
    const bool whole = element >= begin && last - element == 4 * n;
    float* __restrict interleaved = whole ? out + (element - begin) : block;
    for (int64_t g = 0; g < n; ++g) {
      interleaved[4 * g] = lane0[g];
      interleaved[4 * g + 1] = lane1[g];
      interleaved[4 * g + 2] = lane2[g];
      interleaved[4 * g + 3] = lane3[g];
    }
    if (!whole)
      for (int64_t i = element < begin ? begin : element; i < last; ++i) out[i - begin] = block[i - element];
  }
}

}  // namespace VAE_FAST_ISA
}  // namespace vae_fast
