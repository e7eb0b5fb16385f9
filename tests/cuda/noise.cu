// The noise alone, for the test that looks at its machine code.
#include "../../csrc/math/normal.h"

extern "C" __global__ void noise(float* out, unsigned long long seed) {
  const unsigned group = blockIdx.x * blockDim.x + threadIdx.x;
  const vae_fast::portable::Normal4 four = vae_fast::portable::normal4(seed, group, 0);
  out[4 * group] = four.lane0;
  out[4 * group + 1] = four.lane1;
  out[4 * group + 2] = four.lane2;
  out[4 * group + 3] = four.lane3;
}
