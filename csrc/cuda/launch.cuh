// Launching a kernel: by the CUDA runtime, or, where a C++ compiler reads this file, by the simulator of
// tests/simt that runs the same kernels on the CPU.
#pragma once

#include <stdint.h>

#ifdef __CUDACC__
#include <cuda_runtime.h>

#include <type_traits>

namespace vae_fast {
namespace cuda {

// Returns the error, or null. Arguments must have the very types of the parameters.
template <class... Parameters, class... Arguments>
inline const char* launch(void (*kernel)(Parameters...), int64_t blocks, int threads, void* stream,
                          Arguments... arguments) {
  static_assert((std::is_same_v<Parameters, Arguments> && ...), "an argument would be read as another type");
  void* pointers[] = {&arguments...};
  const cudaError_t error =
      cudaLaunchKernel(reinterpret_cast<const void*>(kernel), dim3(static_cast<unsigned>(blocks)),
                       dim3(static_cast<unsigned>(threads)), pointers, 0, static_cast<cudaStream_t>(stream));
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace cuda
}  // namespace vae_fast
#else
#include "simt.h"
#endif
