#include <cuda_runtime.h>

#include <atomic>

#include "device.h"
#include "plan.h"

namespace vae_fast {
namespace cuda {

int64_t resident_blocks(int32_t device) {
  constexpr int most_devices = 64;
  static std::atomic<int> known[most_devices];  // zero: not asked yet
  std::atomic<int>* memory = device >= 0 && device < most_devices ? &known[device] : nullptr;
  int processors = memory ? memory->load(std::memory_order_relaxed) : 0;
  if (processors == 0) {
    if (cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device) != cudaSuccess)
      processors = 1;
    if (memory) memory->store(processors, std::memory_order_relaxed);
  }
  return int64_t(processors) * blocks_per_processor;
}

bool is_capturing(void* stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  return cudaStreamIsCapturing(static_cast<cudaStream_t>(stream), &status) == cudaSuccess &&
         status == cudaStreamCaptureStatusActive;
}

const char* clear(void* memory, size_t bytes, void* stream) {
  const cudaError_t error = cudaMemsetAsync(memory, 0, bytes, static_cast<cudaStream_t>(stream));
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace cuda
}  // namespace vae_fast
