#include "likelihood_launch.cuh"

namespace vae_fast {
namespace cuda {

const char* elbo_float16_packets(const ElboArgs& args, void* stream) {
  return elbo_packets<float16>(args, stream);
}

}  // namespace cuda
}  // namespace vae_fast
