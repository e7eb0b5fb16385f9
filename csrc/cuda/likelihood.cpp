// Operators of the loss on CUDA devices: negative log-likelihood, the ELBO around it, and their gradients.
// Each call is one launch; scalars that are tensors (beta, a shared log-variance, the incoming gradient)
// stay on the device.
#include "../loss.h"
#include "operators.h"
#include "packets.h"
#include "session.h"

namespace vae_fast {
namespace cuda {

namespace {

bool is_dense(const Operand& a, int64_t cols) {
  return !a.data || (a.col_stride == 1 && a.row_stride == cols);
}

// Makes one row of all rows where they lie behind one another in every operand.
void join_rows(ElboArgs& args) {
  const bool element_logvar = args.logvar.data && !args.shared_logvar;
  for (const Operand* a : {&args.param, &args.target, &args.weight, &args.grad_out, &args.values,
                           &args.grad_param, &args.grad_logvar})
    if (!is_dense(*a, args.cols)) return;
  if (element_logvar && !is_dense(args.logvar, args.cols)) return;
  const int64_t cols = args.rows * args.cols;
  for (Operand* a : {&args.param, &args.target, &args.weight, &args.grad_out, &args.values, &args.grad_param,
                     &args.grad_logvar, &args.logvar})
    if (a->row_stride) a->row_stride = cols;
  args.rows = 1;
  args.cols = cols;
}

bool in_packets(const ElboArgs& args, int packet) {
  const DType dtype = args.param.dtype, target = args.target.dtype;
  const bool element_logvar = args.logvar.data && !args.shared_logvar;
  const bool byte_target = target == DType::uint8 || target == DType::boolean;
  PacketCheck check(packet, args.param);
  check.require(dtype != DType::float64 && !args.weight.data)
      .require(byte_target || target == dtype || target == DType::float32)
      .require(!args.grad_out.data || args.grad_out.col_stride == 0)
      .require(args.samples == 1 || args.rows * args.param.row_stride % packet == 0)
      .require(!args.with_grad || (args.grad_param.data && (!element_logvar || args.grad_logvar.data)))
      .allow(args.param, dtype)
      .allow(args.target, target)
      .allow(args.values, DType::float32)
      .allow(args.grad_param, dtype)
      .allow(args.grad_logvar, dtype);
  if (element_logvar) check.allow(args.logvar, dtype);
  return check.ok();
}

ElboArgs arguments(const LossInputs& inputs, const OptionalTensor& kl, const OptionalTensor& beta_tensor,
                   double beta, double constant) {
  ElboArgs args{};
  args.samples = inputs.samples;
  args.rows = args.batch = inputs.batch;
  args.cols = inputs.cols;
  args.latents = inputs.latents;
  args.likelihood = inputs.likelihood;
  args.shared_logvar = inputs.shared_logvar;
  args.constant = constant;
  args.param = inputs.param;
  args.logvar = inputs.param_logvar;
  args.target = inputs.target;
  args.weight = inputs.weight;
  if (kl) args.kl = per_row(*kl);
  args.mu = inputs.mu;
  args.latent_logvar = inputs.logvar;
  args.recon_scale = inputs.row_scale();
  args.kl_scale = inputs.kl_scale();
  args.beta = beta;
  if (beta_tensor) args.beta_factor = one_element(*beta_tensor);
  return args;
}

void set_gradients(ElboArgs& args, const LossGradients& gradients) {
  args.grad_param = gradients.param;
  (args.shared_logvar ? args.grad_shared_logvar : args.grad_logvar) = gradients.param_logvar;
  args.with_grad = gradients.param.data || gradients.param_logvar.data;
  args.grad_kl = gradients.kl;
  args.grad_mu = gradients.mu;
  args.grad_latent_logvar = gradients.logvar;
}

void run(ElboArgs args, Session& session) {
  const int packet = nll_packet_of(args.param.dtype, args.logvar.data && !args.shared_logvar);
  if (args.per_row) {
    args.plan = by_row(args.rows, args.samples, args.cols, packet, session.resident_blocks());
    if (args.plan.splits > 1) args.shared = session.share(args.rows * args.plan.splits * 2, args.rows);
  } else {
    join_rows(args);
    args.plan = pooled(args.samples * args.rows, args.cols, packet, session.resident_blocks(),
                       args.batch * (args.latents > 1 ? args.latents : 1));
    const bool with_sums = args.loss.data || args.grad_shared_logvar.data;
    if (with_sums) args.shared = session.share(args.plan.blocks * 3, 1);
    // Gradients of the KL alone need no look at the reconstruction.
    if (!with_sums && !args.values.data && !args.with_grad) args.plan.tiles = 0;
  }
  args.in_packets = in_packets(args, packet);
  Session::check(elbo(args, session.stream()));
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor, std::vector<Tensor>> elbo_with_grad(
    Tensor param, OptionalTensor param_logvar, Tensor target, OptionalTensor weight, OptionalTensor kl,
    OptionalTensor mu, OptionalTensor logvar, OptionalTensor beta_tensor, double beta, int64_t likelihood,
    double constant, int64_t reduction, int64_t wants) {
  Session session(param);
  const Device device = device_of(param);
  const LossInputs inputs(param, param_logvar, target, weight, kl, mu, logvar, likelihood, reduction,
                          nullptr);
  const LossGradients gradients(inputs, param, param_logvar, kl, mu, logvar, wants);
  ElboArgs args = arguments(inputs, kl, beta_tensor, beta, constant);
  set_gradients(args, gradients);

  if (inputs.reduce == Reduction::none) {
    Tensor values = inputs.layout.allocate(sizes_of(param), inputs.lead, inputs.dtype);
    args.values = dense(values, inputs.cols);
    run(args, session);
    return {values, empty({0}, inputs.dtype, device), empty({0}, inputs.dtype, device), {}};
  }
  args.per_row = inputs.reduce == Reduction::sample;
  const bool with_kl = kl || mu;
  const Sizes shape = args.per_row ? Sizes{inputs.batch} : Sizes{};
  Tensor loss = empty(shape, inputs.dtype, device);
  Tensor recon_out = empty(with_kl ? shape : Sizes{0}, inputs.dtype, device);
  Tensor kl_out = empty(with_kl ? shape : Sizes{0}, inputs.dtype, device);
  const auto view = [&](const Tensor& t) { return args.per_row ? per_row(t) : one_element(t); };
  args.loss = view(loss);
  if (with_kl) {
    args.recon_out = view(recon_out);
    args.kl_out = view(kl_out);
  }
  run(args, session);
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

namespace {

void backward(const Tensor& grad, const LossInputs& inputs, const LossGradients& gradients,
              const OptionalTensor& kl, const OptionalTensor& beta_tensor, double beta, bool unless_one,
              Session& session) {
  ElboArgs args = arguments(inputs, kl, beta_tensor, beta, 0.0);
  args.kl = {};  // its value is not needed
  set_gradients(args, gradients);
  args.unless_one = unless_one;
  if (inputs.reduce == Reduction::none) {
    args.grad_out = inputs.elements;
  } else if (inputs.reduce == Reduction::sample) {
    args.grad_out = per_row(grad);
    args.grad_out_of_batch = true;
  } else {
    args.grad = one_element(grad);
  }
  run(args, session);
}

}  // namespace

std::vector<Tensor> elbo_backward(Tensor grad, Tensor param, OptionalTensor param_logvar, Tensor target,
                                  OptionalTensor weight, OptionalTensor kl, OptionalTensor mu,
                                  OptionalTensor logvar, OptionalTensor beta_tensor, double beta,
                                  int64_t likelihood, double /*constant*/, int64_t reduction, int64_t wants) {
  Session session(param);
  const bool elements = static_cast<Reduction>(reduction) == Reduction::none;
  const LossInputs inputs(param, param_logvar, target, weight, kl, mu, logvar, likelihood, reduction,
                          elements ? &grad : nullptr);
  const LossGradients gradients(inputs, param, param_logvar, kl, mu, logvar, wants);
  backward(grad, inputs, gradients, kl, beta_tensor, beta, false, session);
  return gradients.list;
}

void elbo_regrad(Tensor grad, std::vector<Tensor> list, Tensor param, OptionalTensor param_logvar,
                 Tensor target, OptionalTensor weight, OptionalTensor kl, OptionalTensor mu,
                 OptionalTensor logvar, OptionalTensor beta_tensor, double beta, int64_t likelihood,
                 double /*constant*/, int64_t reduction, int64_t wants) {
  Session session(param);
  const LossInputs inputs(param, param_logvar, target, weight, kl, mu, logvar, likelihood, reduction,
                          nullptr);
  const LossGradients gradients(inputs, std::move(list), wants);
  backward(grad, inputs, gradients, kl, beta_tensor, beta, true, session);
}

}  // namespace cuda
}  // namespace vae_fast
