#include "loss.h"

namespace vae_fast {

LossInputs::LossInputs(const Tensor& param_tensor, const OptionalTensor& param_logvar_tensor,
                       const Tensor& target_tensor, const OptionalTensor& weight_tensor,
                       const OptionalTensor& kl_tensor, const OptionalTensor& mu_tensor,
                       const OptionalTensor& logvar_tensor, int64_t likelihood_code, int64_t reduction,
                       const Tensor* elements_tensor)
    : lead(param_tensor.dim() > target_tensor.dim() ? 2 : 1),
      samples(lead == 2 ? param_tensor.size(0) : 1),
      batch(target_tensor.size(0)),
      cols(event_of(target_tensor)),
      latents(mu_tensor ? event_of(*mu_tensor) : 0),
      layout(param_tensor, lead),
      latent_layout(mu_tensor ? *mu_tensor : target_tensor, 1),
      likelihood(static_cast<Likelihood>(likelihood_code)),
      reduce(static_cast<Reduction>(reduction)),
      dtype(accumulate_type(is_double(param_tensor) || (kl_tensor && is_double(*kl_tensor)) ||
                            (mu_tensor && is_double(*mu_tensor)))),
      shared_logvar(param_logvar_tensor && param_logvar_tensor->dim() == 0) {
  if (param_logvar_tensor && !shared_logvar) layout.require(*param_logvar_tensor, lead);
  layout.require(target_tensor, 1);
  if (weight_tensor) layout.require(*weight_tensor, 1);
  if (elements_tensor) layout.require(*elements_tensor, lead);

  param = layout.rows(param_tensor, lead);
  target = layout.rows(target_tensor, 1);
  if (weight_tensor) weight = layout.rows(*weight_tensor, 1);
  if (shared_logvar)
    param_logvar = one_element(*param_logvar_tensor);
  else if (param_logvar_tensor)
    param_logvar = layout.rows(*param_logvar_tensor, lead);
  if (elements_tensor) elements = layout.rows(*elements_tensor, lead);
  if (!mu_tensor) return;
  latent_layout.require(*logvar_tensor, 1);
  mu = latent_layout.rows(*mu_tensor, 1);
  logvar = latent_layout.rows(*logvar_tensor, 1);
}

double LossInputs::row_scale() const {
  const double rows = static_cast<double>(samples);
  switch (reduce) {
    case Reduction::none: return 1.0;
    case Reduction::sample:
    case Reduction::sum: return 1.0 / rows;
    case Reduction::batchmean: return 1.0 / (rows * static_cast<double>(batch));
    case Reduction::mean: return 1.0 / (rows * static_cast<double>(batch) * static_cast<double>(cols));
  }
  return 1.0;
}

double LossInputs::kl_scale() const {
  return reduce == Reduction::batchmean ? 1.0 / static_cast<double>(batch) : 1.0;
}

LossGradients::LossGradients(const LossInputs& inputs, const Tensor& param_tensor,
                             const OptionalTensor& param_logvar_tensor, const OptionalTensor& kl_tensor,
                             const OptionalTensor& mu_tensor, const OptionalTensor& logvar_tensor,
                             int64_t wants) {
  const RowLayout &layout = inputs.layout, &latent = inputs.latent_layout;
  const Sizes sizes = sizes_of(param_tensor);
  if (wants & want_param) list.push_back(layout.allocate(sizes, inputs.lead, param_tensor.scalar_type()));
  if (wants & want_param_logvar)
    list.push_back(inputs.shared_logvar
                       ? empty({}, param_logvar_tensor->scalar_type(), device_of(param_tensor))
                       : layout.allocate(sizes, inputs.lead, param_logvar_tensor->scalar_type()));
  if (wants & want_kl)
    list.push_back(empty(sizes_of(*kl_tensor), kl_tensor->scalar_type(), device_of(*kl_tensor)));
  if (wants & want_mu) list.push_back(latent.allocate(sizes_of(*mu_tensor), 1, mu_tensor->scalar_type()));
  if (wants & want_logvar)
    list.push_back(latent.allocate(sizes_of(*logvar_tensor), 1, logvar_tensor->scalar_type()));
  view(inputs, wants);
}

LossGradients::LossGradients(const LossInputs& inputs, std::vector<Tensor> tensors, int64_t wants)
    : list(std::move(tensors)) {
  view(inputs, wants);
}

void LossGradients::view(const LossInputs& inputs, int64_t wants) {
  size_t next = 0;
  const auto take = [&](int64_t bit, Operand* operand, int64_t cols) {
    if (wants & bit) *operand = dense(list[next++], cols);
  };
  take(want_param, &param, inputs.cols);
  take(want_param_logvar, &param_logvar, inputs.shared_logvar ? 0 : inputs.cols);
  take(want_kl, &kl, 1);
  take(want_mu, &mu, inputs.latents);
  take(want_logvar, &logvar, inputs.latents);
}

}  // namespace vae_fast
