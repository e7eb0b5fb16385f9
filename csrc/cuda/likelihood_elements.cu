#include "likelihood_launch.cuh"

namespace vae_fast {
namespace cuda {

const char* elbo_single_elements(const ElboArgs& args, void* stream) {
  return elbo_elements<float>(args, stream);
}
const char* elbo_double_elements(const ElboArgs& args, void* stream) {
  return elbo_elements<double>(args, stream);
}

}  // namespace cuda
}  // namespace vae_fast
