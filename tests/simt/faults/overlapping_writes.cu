// Every thread writes three neighbouring elements. Planted: a fourth one, which belongs to the next thread.
#include "fault.h"

namespace overlapping_writes {

__global__ void fill(int* out, int n, bool planted) {
  for (int k = 0; k < 3 + planted; ++k) {
    const int i = 3 * static_cast<int>(threadIdx.x) + k;
    if (i < n) out[i] = static_cast<int>(threadIdx.x);
  }
}

inline const char* check(bool planted) {
  std::vector<int> out(3 * block_threads);
  const int n = static_cast<int>(out.size());
  if (const char* error = launch(fill, 1, block_threads, nullptr, out.data(), n, planted)) return error;
  return wrong_unless(out[3] == 1 && out[n - 3] == block_threads - 1);
}

}  // namespace overlapping_writes
