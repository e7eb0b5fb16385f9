// Shifts a row that is shorter than the block. Planted: the threads without work skip a barrier.
#include "fault.h"

namespace divergent_barrier {

__global__ void shift(int* row, unsigned n, bool planted) {
  if (planted && threadIdx.x >= n) return;
  const int value = threadIdx.x < n ? row[threadIdx.x] : 0;
  __syncthreads();
  if (threadIdx.x < n) row[(threadIdx.x + 1) % n] = value;
}

inline const char* check(bool planted) {
  std::vector<int> row = counting(100);
  if (const char* error = launch(shift, 1, block_threads, nullptr, row.data(), row.size(), planted))
    return error;
  return wrong_unless(row[0] == 100 && row[1] == 1 && row[99] == 99);
}

}  // namespace divergent_barrier
