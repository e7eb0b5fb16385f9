#include "likelihood_launch.cuh"

namespace vae_fast {
namespace cuda {

const char* elbo_bfloat16_packets(const ElboArgs& args, void* stream) {
  return elbo_packets<bfloat16>(args, stream);
}

}  // namespace cuda
}  // namespace vae_fast
