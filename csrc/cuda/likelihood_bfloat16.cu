#include "likelihood_launch.cuh"

namespace vae_fast {
namespace cuda {

const char* elbo_bfloat16(const ElboArgs& args, void* stream) { return launch_elbo<bfloat16>(args, stream); }

}  // namespace cuda
}  // namespace vae_fast
