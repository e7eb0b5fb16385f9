// The operators of one device, VAE_FAST_DEVICE, in the signatures of the schemas (vae_fast/ops).
#pragma once

#include <tuple>

#include "loss.h"

namespace vae_fast {
namespace VAE_FAST_DEVICE {

std::tuple<Tensor, Tensor> reparameterize_kl(Tensor mu, Tensor logvar, OptionalTensor seed,
                                             OptionalTensor eps, std::optional<int64_t> num_samples,
                                             bool with_kl);

std::tuple<Tensor, Tensor> reparameterize_kl_backward(OptionalTensor grad_z, OptionalTensor grad_kl,
                                                      Tensor mu, Tensor logvar, OptionalTensor seed,
                                                      OptionalTensor eps);

Tensor gaussian_kl(Tensor mu, Tensor logvar, OptionalTensor prior_mu, OptionalTensor prior_logvar,
                   int64_t reduction);

std::vector<Tensor> gaussian_kl_backward(Tensor grad, Tensor mu, Tensor logvar, OptionalTensor prior_mu,
                                         OptionalTensor prior_logvar, int64_t reduction, int64_t wants);

std::tuple<Tensor, Tensor, Tensor> elbo(LossArguments args);

std::tuple<Tensor, Tensor, Tensor, std::vector<Tensor>> elbo_with_grad(LossArguments args, int64_t wants);

std::vector<Tensor> elbo_backward(Tensor grad, LossArguments args, int64_t wants);

// Of GPUs alone: nothing is done where `grad` is 1, for which the gradients have been computed.
void elbo_regrad(Tensor grad, std::vector<Tensor> gradients, LossArguments args, int64_t wants);

std::tuple<Tensor, Tensor> gumbel_softmax_kl(Tensor logits, Tensor seed, OptionalTensor tau_tensor,
                                             double tau, bool hard);

Tensor gumbel_softmax_kl_backward(OptionalTensor grad_y, OptionalTensor grad_kl, Tensor logits, Tensor seed,
                                  OptionalTensor tau_tensor, double tau);

}  // namespace VAE_FAST_DEVICE
}  // namespace vae_fast
