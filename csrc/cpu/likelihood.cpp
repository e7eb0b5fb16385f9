// Operators of the loss on CPU: negative log-likelihood, the ELBO around it, and their gradients. One
// pass over parameters and target gives the loss, its logged parts and, on demand, the gradients.
#include "operators.h"

namespace vae_fast {
namespace cpu {

namespace {

// The inputs of one call, viewed for the kernels.
struct Call {
  Call(const Tensor& param, const OptionalTensor& param_logvar, const Tensor& target,
       const OptionalTensor& weight, const OptionalTensor& kl, const OptionalTensor& mu,
       const OptionalTensor& logvar, const OptionalTensor& beta_tensor, double beta_scalar,
       int64_t likelihood, double constant, int64_t reduction, const Tensor* grad_none)
      : lead(param.dim() > target.dim() ? 2 : 1),
        layout(param, lead),
        latent_layout(mu ? *mu : target, 1),
        reduce(static_cast<Reduction>(reduction)),
        beta(beta_tensor ? beta_scalar * scalar_of(*beta_tensor) : beta_scalar) {
    batch = target.size(0);
    samples = lead == 2 ? param.size(0) : 1;
    cols = 1;
    for (size_t d = 1; d < target.sizes().size(); ++d) cols *= target.sizes()[d];

    const bool shared = param_logvar && param_logvar->dim() == 0;
    if (param_logvar && !shared) layout.require(*param_logvar, lead);
    layout.require(target, 1);
    if (weight) layout.require(*weight, 1);
    if (grad_none) layout.require(*grad_none, lead);

    nll.split = Split::of(samples * batch, cols);
    nll.batch = batch;
    nll.likelihood = static_cast<Likelihood>(likelihood);
    nll.constant = constant;
    nll.is_double = is_double(param);
    nll.shared_logvar = shared;
    nll.param = layout.rows(param, lead);
    nll.target = layout.rows(target, 1);
    if (weight) nll.weight = layout.rows(*weight, 1);
    if (shared)
      nll.logvar = {param_logvar->data_ptr(), dtype_of(*param_logvar), 0, 0};
    else if (param_logvar)
      nll.logvar = layout.rows(*param_logvar, lead);
    if (grad_none) nll.grad_out = layout.rows(*grad_none, lead);

    latent.split = Split::of(mu ? batch : 0, 0);
    if (mu) {
      int64_t latents = 1;
      for (size_t d = 1; d < mu->sizes().size(); ++d) latents *= mu->sizes()[d];
      latent_layout.require(*logvar, 1);
      latent.split = Split::of(batch, latents);
      latent.is_double = is_double(*mu);
      latent.mu = latent_layout.rows(*mu, 1);
      latent.logvar = latent_layout.rows(*logvar, 1);
    }
    dtype = accumulate_type(is_double(param) || (kl && is_double(*kl)) || (mu && is_double(*mu)));
  }

  // Weight of one row of the reconstruction term in the loss.
  double row_scale() const {
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

  // Weight of one sample's KL, without beta.
  double kl_scale() const { return reduce == Reduction::batchmean ? 1.0 / static_cast<double>(batch) : 1.0; }

  void run() const {
    const Kernels& table = kernels();
    const int64_t units = nll.split.units(), latent_units = latent.split.units();
    if (!units) return;
    // One parallel region for both terms: a thread takes the same share of each.
    parallel(units, nll.split.chunk, [&](int64_t begin, int64_t end) {
      table.nll(nll, begin, end);
      if (latent_units) table.kl(latent, begin * latent_units / units, end * latent_units / units);
    });
  }

  int64_t lead, batch, samples, cols;
  RowLayout layout, latent_layout;
  Reduction reduce;
  double beta;
  ScalarType dtype;
  NllArgs nll{};
  KlArgs latent{};
};

// Allocates the wanted gradients and points the kernels' arguments at them.
class Gradients {
 public:
  Gradients(Call& call, const Tensor& param, const OptionalTensor& param_logvar, const OptionalTensor& kl,
            const OptionalTensor& mu, const OptionalTensor& logvar, int64_t wants)
      : call_(call),
        shared_sums_(call.nll.shared_logvar && (wants & want_param_logvar) ? call.nll.split.units() : 0) {
    if (wants & want_param) {
      list.push_back(call.layout.allocate(sizes_of(param), call.lead, param.scalar_type()));
      call.nll.grad_param = dense(list.back(), call.cols);
    }
    if (wants & want_param_logvar) {
      list.push_back(call.nll.shared_logvar
                         ? empty({}, param_logvar->scalar_type())
                         : call.layout.allocate(sizes_of(param), call.lead, param_logvar->scalar_type()));
      if (call.nll.shared_logvar) {
        shared_ = static_cast<int64_t>(list.size()) - 1;
        call.nll.logvar_sums = shared_sums_.data();
      } else {
        call.nll.grad_logvar = dense(list.back(), call.cols);
      }
    }
    if (wants & want_kl) {
      list.push_back(empty(sizes_of(*kl), kl->scalar_type()));
      kl_ = static_cast<int64_t>(list.size()) - 1;
    }
    if (wants & want_mu) {
      list.push_back(call.latent_layout.allocate(sizes_of(*mu), 1, mu->scalar_type()));
      call.latent.grad_mu = dense(list.back(), list.back().numel() / (call.batch ? call.batch : 1));
    }
    if (wants & want_logvar) {
      list.push_back(call.latent_layout.allocate(sizes_of(*logvar), 1, logvar->scalar_type()));
      call.latent.grad_logvar = dense(list.back(), list.back().numel() / (call.batch ? call.batch : 1));
    }
  }

  // After the kernels: what is summed over rows, and the gradient of a given KL.
  void finish(double grad, const Tensor* grad_rows) {
    if (shared_ >= 0) {
      double total = 0;
      for (int64_t unit = 0; unit < call_.nll.split.units(); ++unit) total += shared_sums_.data()[unit];
      fill_scalar(list[static_cast<size_t>(shared_)], total);
    }
    if (kl_ >= 0) {
      const Elements out(list[static_cast<size_t>(kl_)]);
      const double scale = call_.beta * call_.kl_scale();
      if (grad_rows) {
        const Elements rows(*grad_rows);
        for (int64_t b = 0; b < call_.batch; ++b) out.set(b, scale * rows.get(b));
      } else {
        for (int64_t b = 0; b < call_.batch; ++b) out.set(b, scale * grad);
      }
    }
  }

  std::vector<Tensor> list;

 private:
  Call& call_;
  Workspace shared_sums_;
  int64_t shared_ = -1, kl_ = -1;
};

}  // namespace

std::tuple<Tensor, Tensor, Tensor, std::vector<Tensor>> elbo_with_grad(
    Tensor param, OptionalTensor param_logvar, Tensor target, OptionalTensor weight, OptionalTensor kl,
    OptionalTensor mu, OptionalTensor logvar, OptionalTensor beta_tensor, double beta, int64_t likelihood,
    double constant, int64_t reduction, int64_t wants) {
  Call call(param, param_logvar, target, weight, kl, mu, logvar, beta_tensor, beta, likelihood, constant,
            reduction, nullptr);
  Gradients gradients(call, param, param_logvar, kl, mu, logvar, wants);
  call.nll.grad_scale = call.row_scale();
  call.latent.grad_scale = call.beta * call.kl_scale();

  if (call.reduce == Reduction::none) {
    Tensor values = call.layout.allocate(sizes_of(param), call.lead, call.dtype);
    call.nll.values = dense(values, call.cols);
    call.run();
    return {values, empty({0}, call.dtype), empty({0}, call.dtype), {}};
  }

  const int64_t units = call.nll.split.units(), latent_units = call.latent.split.units();
  const Workspace sums(units + latent_units);
  call.nll.value_sums = sums.data();
  call.latent.value_sums = sums.data() + units;
  call.run();
  gradients.finish(1.0, nullptr);

  const bool with_kl = kl || mu;
  const bool per_sample = call.reduce == Reduction::sample;
  const Sizes shape = per_sample ? Sizes{call.batch} : Sizes{};
  Tensor loss = empty(shape, call.dtype);
  Tensor recon_out = empty(with_kl ? shape : Sizes{0}, call.dtype);
  Tensor kl_out = empty(with_kl ? shape : Sizes{0}, call.dtype);
  const Elements losses(loss), recons(recon_out), kls(kl_out), given(kl ? *kl : loss);
  double recon_total = 0, kl_total = 0;
  for (int64_t b = 0; b < call.batch; ++b) {
    double recon_row = 0, kl_row = 0;
    for (int64_t s = 0; s < call.samples; ++s) {
      const double* partial = sums.data() + (s * call.batch + b) * call.nll.split.per_row;
      for (int64_t c = 0; c < call.nll.split.per_row; ++c) recon_row += partial[c];
    }
    if (kl) kl_row = given.get(b);
    if (mu)
      for (int64_t c = 0; c < call.latent.split.per_row; ++c)
        kl_row += sums.data()[units + b * call.latent.split.per_row + c];
    if (per_sample) {
      recon_row *= call.row_scale();
      losses.set(b, with_kl ? recon_row + call.beta * kl_row : recon_row);
      if (with_kl) {
        recons.set(b, recon_row);
        kls.set(b, kl_row);
      }
    }
    recon_total += recon_row;
    kl_total += kl_row;
  }
  if (!per_sample) {
    recon_total *= call.row_scale();
    // 0 / 0 for an empty batch, as in every PyTorch mean.
    if (!call.batch && call.reduce != Reduction::sum) recon_total = 0.0 * call.row_scale();
    kl_total *= call.kl_scale();
    losses.set(0, with_kl ? recon_total + call.beta * kl_total : recon_total);
    if (with_kl) {
      recons.set(0, recon_total);
      kls.set(0, kl_total);
    }
  }
  return {loss, recon_out, kl_out, gradients.list};
}

std::tuple<Tensor, Tensor, Tensor> elbo(Tensor param, OptionalTensor param_logvar, Tensor target,
                                        OptionalTensor weight, OptionalTensor kl, OptionalTensor mu,
                                        OptionalTensor logvar, OptionalTensor beta_tensor, double beta,
                                        int64_t likelihood, double constant, int64_t reduction) {
  auto [loss, recon_out, kl_out, none] =
      elbo_with_grad(param, param_logvar, target, weight, kl, mu, logvar, beta_tensor, beta, likelihood,
                     constant, reduction, 0);
  return {loss, recon_out, kl_out};
}

std::vector<Tensor> elbo_backward(Tensor grad, Tensor param, OptionalTensor param_logvar, Tensor target,
                                  OptionalTensor weight, OptionalTensor kl, OptionalTensor mu,
                                  OptionalTensor logvar, OptionalTensor beta_tensor, double beta,
                                  int64_t likelihood, double constant, int64_t reduction, int64_t wants) {
  const bool elements = static_cast<Reduction>(reduction) == Reduction::none;
  Call call(param, param_logvar, target, weight, kl, mu, logvar, beta_tensor, beta, likelihood, constant,
            reduction, elements ? &grad : nullptr);
  Gradients gradients(call, param, param_logvar, kl, mu, logvar, wants);
  const bool per_sample = call.reduce == Reduction::sample;
  const double scale = elements || per_sample ? 1.0 : scalar_of(grad);
  call.nll.grad_scale = call.row_scale() * scale;
  call.latent.grad_scale = call.beta * call.kl_scale() * scale;
  Tensor rows = grad;
  if (per_sample) {
    if (call.samples > 1) {  // every Monte Carlo sample of an image shares its incoming gradient
      rows = empty({call.samples * call.batch}, grad.scalar_type());
      const Elements repeated(rows), given(grad);
      for (int64_t r = 0; r < call.samples * call.batch; ++r) repeated.set(r, given.get(r % call.batch));
    }
    call.nll.grad_out = {rows.data_ptr(), dtype_of(rows), rows.stride(0), 0};
    call.latent.grad_out = {grad.data_ptr(), dtype_of(grad), grad.stride(0), 0};
  }
  call.run();
  gradients.finish(scale, per_sample ? &grad : nullptr);
  return gradients.list;
}

}  // namespace cpu
}  // namespace vae_fast
