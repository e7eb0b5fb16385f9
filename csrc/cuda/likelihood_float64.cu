#include "likelihood_launch.cuh"

namespace vae_fast {
namespace cuda {

const char* elbo_float64(const ElboArgs& args, void* stream) { return launch_elbo<double>(args, stream); }

}  // namespace cuda
}  // namespace vae_fast
