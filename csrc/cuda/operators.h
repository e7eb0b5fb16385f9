// The operators of CUDA devices.
#pragma once

#define VAE_FAST_DEVICE cuda
#include "../operators.h"
#undef VAE_FAST_DEVICE

namespace vae_fast {
namespace cuda {

// `elbo_backward` of a scalar loss into gradients that the forward has written for an incoming gradient
// of 1: nothing is done where it is 1.
void elbo_regrad(Tensor grad, std::vector<Tensor> gradients, Tensor param, OptionalTensor param_logvar,
                 Tensor target, OptionalTensor weight, OptionalTensor kl, OptionalTensor mu,
                 OptionalTensor logvar, OptionalTensor beta_tensor, double beta, int64_t likelihood,
                 double constant, int64_t reduction, int64_t wants);

}  // namespace cuda
}  // namespace vae_fast
