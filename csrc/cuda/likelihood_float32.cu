#include "likelihood_launch.cuh"

namespace vae_fast {
namespace cuda {

const char* elbo_float32_packets(const ElboArgs& args, void* stream) {
  return elbo_packets<float>(args, stream);
}

}  // namespace cuda
}  // namespace vae_fast
