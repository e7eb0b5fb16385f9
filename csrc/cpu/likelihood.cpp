// Operators of the loss on CPU: negative log-likelihood, the ELBO around it, and their gradients. One
// pass over parameters and target gives the loss, its logged parts and, on demand, the gradients.
#include "../loss.h"
#include "host.h"
#include "operators.h"

namespace vae_fast {
namespace cpu {

namespace {

// The inputs of one call, and what the kernels are told about them.
struct Call : LossInputs {
  Call(const Tensor& param_tensor, const OptionalTensor& param_logvar_tensor, const Tensor& target_tensor,
       const OptionalTensor& weight_tensor, const OptionalTensor& kl_tensor, const OptionalTensor& mu_tensor,
       const OptionalTensor& logvar_tensor, const OptionalTensor& beta_tensor, double beta_scalar,
       int64_t likelihood_code, double constant, int64_t reduction, const Tensor* elements_tensor)
      : LossInputs(param_tensor, param_logvar_tensor, target_tensor, weight_tensor, kl_tensor, mu_tensor,
                   logvar_tensor, likelihood_code, reduction, elements_tensor),
        beta(beta_tensor ? beta_scalar * scalar_of(*beta_tensor) : beta_scalar) {
    nll.split = Split::of(samples * batch, cols);
    nll.batch = batch;
    nll.likelihood = likelihood;
    nll.constant = constant;
    nll.is_double = is_double(param_tensor);
    nll.shared_logvar = shared_logvar;
    nll.param = param;
    nll.logvar = param_logvar;
    nll.target = target;
    nll.weight = weight;
    nll.grad_out = elements;
    latent.split = Split::of(mu_tensor ? batch : 0, latents);
    latent.is_double = mu_tensor && is_double(*mu_tensor);
    latent.mu = mu;
    latent.logvar = logvar;
  }

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

  double beta;
  NllArgs nll{};
  KlArgs latent{};
};

// Points the kernels' arguments at the wanted gradients.
class Gradients : public LossGradients {
 public:
  Gradients(Call& call, const Tensor& param_tensor, const OptionalTensor& param_logvar_tensor,
            const OptionalTensor& kl_tensor, const OptionalTensor& mu_tensor,
            const OptionalTensor& logvar_tensor, int64_t wants)
      : LossGradients(call, param_tensor, param_logvar_tensor, kl_tensor, mu_tensor, logvar_tensor, wants),
        call_(call),
        shared_(call.shared_logvar && param_logvar.data),
        shared_sums_(shared_ ? call.nll.split.units() : 0) {
    call.nll.grad_param = param;
    if (shared_)
      call.nll.logvar_sums = shared_sums_.data();
    else
      call.nll.grad_logvar = param_logvar;
    call.latent.grad_mu = mu;
    call.latent.grad_logvar = logvar;
  }

  // After the kernels: what is summed over rows, and the gradient of a given KL.
  void finish(double grad, const Tensor* grad_rows) {
    if (shared_) {
      double total = 0;
      for (int64_t unit = 0; unit < call_.nll.split.units(); ++unit) total += shared_sums_.data()[unit];
      Elements(param_logvar).set(0, total);
    }
    if (kl.data) {
      const Elements out(kl);
      const double scale = call_.beta * call_.kl_scale();
      if (grad_rows) {
        const Elements rows(*grad_rows);
        for (int64_t b = 0; b < call_.batch; ++b) out.set(b, scale * rows.get(b));
      } else {
        for (int64_t b = 0; b < call_.batch; ++b) out.set(b, scale * grad);
      }
    }
  }

 private:
  Call& call_;
  bool shared_;
  Workspace shared_sums_;
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
    call.nll.grad_out = per_row(rows);
    call.latent.grad_out = per_row(grad);
  }
  call.run();
  gradients.finish(scale, per_sample ? &grad : nullptr);
  return gradients.list;
}

}  // namespace cpu
}  // namespace vae_fast
