// The loss of one call on any device: its tensors viewed for kernels, the scales of its terms, and its
// gradients allocated.
#pragma once

#include "tensors.h"

namespace vae_fast {

struct LossInputs {
  // `elements`: an incoming gradient of the parameters' shape, to be viewed like them.
  LossInputs(const Tensor& param, const OptionalTensor& param_logvar, const Tensor& target,
             const OptionalTensor& weight, const OptionalTensor& kl, const OptionalTensor& mu,
             const OptionalTensor& logvar, int64_t likelihood, int64_t reduction, const Tensor* elements);

  // Weight of one row of the reconstruction term in the loss.
  double row_scale() const;
  // Weight of one sample's KL, without beta.
  double kl_scale() const;

  int64_t lead, samples, batch, cols, latents;
  RowLayout layout, latent_layout;
  Likelihood likelihood;
  Reduction reduce;
  ScalarType dtype;    // of the results
  bool shared_logvar;  // the log-variance has one element
  Operand param, param_logvar, target, weight, elements, mu, logvar;
};

// The wanted gradients, in the order of their bits. That of a shared log-variance has one element.
struct LossGradients {
  LossGradients(const LossInputs& inputs, const Tensor& param_tensor,
                const OptionalTensor& param_logvar_tensor, const OptionalTensor& kl_tensor,
                const OptionalTensor& mu_tensor, const OptionalTensor& logvar_tensor, int64_t wants);
  // The same views of tensors that were allocated so before.
  LossGradients(const LossInputs& inputs, std::vector<Tensor> tensors, int64_t wants);

  std::vector<Tensor> list;
  Operand param, param_logvar, kl, mu, logvar;

 private:
  void view(const LossInputs& inputs, int64_t wants);
};

}  // namespace vae_fast
