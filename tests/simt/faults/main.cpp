// Runs one of the small kernels with its fault planted, or all of them without, or launches at the limits of
// what CUDA takes, or writes down in which order threads run. A program or, through `run`, a library.
#include <stdio.h>
#include <string.h>

#include "divergent_barrier.cu"
#include "empty_grid.cu"
#include "missing_barrier.cu"
#include "missing_fence.cu"
#include "mixed_primitives.cu"
#include "overlapping_writes.cu"
#include "reused_buffer.cu"
#include "shared_bounds.cu"
#include "shuffle_mask.cu"
#include "tail.cu"
#include "unaligned_vector.cu"
#include "uninitialised_shared.cu"
#include "unordered_shuffle.cu"

const char* check_primitives();

namespace {

struct Fault {
  const char* name;
  const char* (*check)(bool planted);
};
const Fault faults[] = {
    {"divergent_barrier", divergent_barrier::check}, {"empty_grid", empty_grid::check},
    {"missing_barrier", missing_barrier::check},     {"missing_fence", missing_fence::check},
    {"mixed_primitives", mixed_primitives::check},   {"overlapping_writes", overlapping_writes::check},
    {"reused_buffer", reused_buffer::check},         {"shared_bounds", shared_bounds::check},
    {"shuffle_mask", shuffle_mask::check},           {"tail", tail::check},
    {"unaligned_vector", unaligned_vector::check},   {"uninitialised_shared", uninitialised_shared::check},
    {"unordered_shuffle", unordered_shuffle::check},
};

const char* check_correct() {
  for (const Fault& fault : faults) {
    if (const char* error = fault.check(false)) {
      fprintf(stderr, "%s: ", fault.name);
      return error;
    }
  }
  return check_primitives();
}

// "block.thread" of the first thread of each warp, as they come.
__global__ void write_order() {
  if (threadIdx.x % 32 == 0) printf("%u.%u ", blockIdx.x, threadIdx.x);
}

__global__ void nothing() {}

const char* check_limits() {
  for (int64_t blocks : {int64_t(-1), int64_t(0), int64_t(1) << 31})
    if (!launch(nothing, blocks, 1, nullptr)) return "launched with too few or too many blocks";
  for (int threads : {-1, 0, 1025})
    if (!launch(nothing, 1, threads, nullptr)) return "launched with too few or too many threads";
  return launch(nothing, 3, 1024, nullptr);
}

const char* run_command(const char* name) {
  if (strcmp(name, "correct") == 0) return check_correct();
  if (strcmp(name, "limits") == 0) return check_limits();
  if (strcmp(name, "order") == 0) return launch(write_order, 3, 96, nullptr);
  for (const Fault& fault : faults)
    if (strcmp(name, fault.name) == 0) return fault.check(true);
  return "no such fault";
}

}  // namespace

extern "C" int run(const char* name) {
  const char* error = run_command(name);
  if (error) fprintf(stderr, "%s\n", error);
  return error != nullptr;
}

int main(int count, char** arguments) { return run(count == 2 ? arguments[1] : ""); }
