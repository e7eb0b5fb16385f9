// What every operator call needs on a device: the guard, the stream, the workspace of sums that blocks
// share, and errors as exceptions.
#pragma once

#include <torch/csrc/stable/accelerator.h>

#include <optional>

#include "../tensors.h"
#include "kernels.h"

namespace vae_fast {
namespace cuda {

class Session {
 public:
  explicit Session(const Tensor& leader);

  int64_t resident_blocks() const { return resident_; }
  void* stream() const { return stream_; }

  // Workspace for so many doubles, and so many tickets. It lives as long as the session; the stream keeps
  // what it uses until the launch is done.
  Shared share(int64_t doubles, int64_t tickets);

  // Raises what a launch returned.
  static void check(const char* error);

 private:
  Device device_;
  std::optional<torch::stable::accelerator::DeviceGuard> guard_;
  void* stream_;
  int64_t resident_;
  std::optional<Tensor> partial_, tickets_;
};

}  // namespace cuda
}  // namespace vae_fast
