#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/headeronly/util/Exception.h>

#include "device.h"

// Only a PyTorch with CUDA has it; this object also builds beside one without, and is never loaded there.
extern "C" AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device_index, void** ret_stream);
#pragma weak aoti_torch_get_current_cuda_stream

namespace vae_fast {
namespace cuda {

void* current_stream(int32_t device) {
  STD_TORCH_CHECK(aoti_torch_get_current_cuda_stream, "vae_fast: this PyTorch has no CUDA streams");
  void* stream = nullptr;
  STD_TORCH_CHECK(aoti_torch_get_current_cuda_stream(device, &stream) == 0,
                  "vae_fast: the current CUDA stream is not available");
  return stream;
}

}  // namespace cuda
}  // namespace vae_fast
