#include "likelihood_launch.cuh"

namespace vae_fast {
namespace cuda {

const char* elbo_float16(const ElboArgs& args, void* stream) { return launch_elbo<float16>(args, stream); }

}  // namespace cuda
}  // namespace vae_fast
