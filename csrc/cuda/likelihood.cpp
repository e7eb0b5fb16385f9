// Operators of the loss on CUDA devices: negative log-likelihood, the ELBO around it, and their gradients.
// Each call is one launch, and one more for the gradient of each parameter that columns or samples share;
// scalars that are tensors (beta, one parameter for all, the incoming gradient) stay on the device.
#include <algorithm>

#include "../loss.h"
#include "operators.h"
#include "packets.h"
#include "session.h"

namespace vae_fast {
namespace cuda {

namespace {

constexpr int packet_parameters = 2;  // most parameters of a likelihood with kernels here

bool is_dense(const Operand& a, int64_t cols) {
  return !a.data || (a.col_stride == 1 && a.row_stride == cols);
}

// Whether parameter k has to be read, or its gradient written, for each element.
bool is_of_elements(const ElboArgs& args, int k) { return args.binding[k] == Binding::element; }

// Makes one row of all rows of a Monte Carlo sample where they lie behind one another in every operand.
void join_rows(ElboArgs& args) {
  Operand* operands[] = {&args.param[0], &args.target,        &args.weight,       &args.grad_out,
                         &args.values,   &args.grad_param[0], &args.grad_param[1]};
  bool dense = std::all_of(std::begin(operands), std::end(operands),
                           [&](const Operand* a) { return is_dense(*a, args.cols); });
  for (int k = 1; k < args.parameters; ++k)
    dense = dense && (args.binding[k] == Binding::one ||
                      (is_of_elements(args, k) && is_dense(args.param[k], args.cols)));
  if (!dense) return;
  const int64_t cols = args.target_rows * args.cols;
  for (Operand* a : operands)
    if (a->row_stride) a->row_stride = cols;
  if (args.parameters > 1 && is_of_elements(args, 1)) args.param[1].row_stride = cols;
  if (args.target_rows) args.rows /= args.target_rows;
  args.target_rows = 1;
  args.cols = cols;
}

bool in_packets(const ElboArgs& args, int packet) {
  const DType dtype = args.param[0].dtype, target = args.target.dtype;
  const bool byte_target = size_of(target) == 1;
  PacketCheck check(packet, args.param[0]);
  check.require(dtype != DType::float64 && !args.weight.data)
      .require(byte_target || target == dtype || target == DType::float32)
      .require(!args.grad_out.data || args.grad_out.col_stride == 0)
      // Rows of the target begin again with every Monte Carlo sample.
      .require(args.rows <= args.target_rows || args.target_rows * args.param[0].row_stride % packet == 0)
      .allow(args.param[0], dtype)
      .allow(args.target, target)
      .allow(args.values, DType::float32)
      .allow(args.grad_param[0], dtype);
  for (int k = 1; k < args.parameters; ++k) {
    check.require(is_of_elements(args, k) || args.binding[k] == Binding::one);
    if (is_of_elements(args, k)) check.allow(args.param[k], dtype).allow(args.grad_param[k], dtype);
  }
  return check.ok();
}

// A batch of one has no row stride; it lies densely.
void lay_out_single_rows(ElboArgs& args) {
  const auto dense = [&](Operand& a) {
    if (a.data && a.col_stride == 1 && a.row_stride == 0) a.row_stride = args.cols;
  };
  if (args.target_rows == 1) {
    dense(args.target);
    dense(args.weight);
  }
  if (args.rows != 1) return;
  dense(args.param[0]);
  dense(args.grad_out);
  for (int k = 1; k < args.parameters; ++k)
    if (is_of_elements(args, k)) dense(args.param[k]);
}

ElboArgs arguments(const LossInputs& inputs, const LossArguments& given) {
  STD_TORCH_CHECK(inputs.parameters <= packet_parameters, "vae_fast: no CUDA kernel of this likelihood");
  STD_TORCH_CHECK(!ends_with_size(given.likelihood, inputs.parameters),
                  "vae_fast: no CUDA kernel of means that are shares of a size");
  ElboArgs args{};
  args.rows = inputs.samples * inputs.batch;
  args.target_rows = args.batch = inputs.batch;
  args.cols = inputs.cols;
  args.latents = inputs.latents;
  args.likelihood = given.likelihood;
  args.parameters = inputs.parameters;
  std::copy(given.constants.begin(), given.constants.end(), args.constants);
  std::copy(inputs.binding, inputs.binding + inputs.parameters, args.binding);
  std::copy(inputs.params, inputs.params + inputs.parameters, args.param);
  args.target = inputs.target;
  args.weight = inputs.weight;
  if (given.kl) args.kl = per_row(*given.kl);
  args.mu = inputs.mu;
  args.latent_logvar = inputs.logvar;
  args.recon_scale = inputs.row_scale();
  args.kl_scale = inputs.kl_scale();
  args.beta = given.beta;
  if (given.beta_tensor) args.beta_factor = one_element(*given.beta_tensor);
  return args;
}

void set_gradients(ElboArgs& args, const LossGradients& gradients) {
  for (int k = 0; k < args.parameters; ++k) {
    if (is_of_elements(args, k)) args.grad_param[k] = gradients.params[k];
    args.with_grad = args.with_grad || args.grad_param[k].data;
    if (args.binding[k] == Binding::one) args.grad_one = gradients.params[k];
  }
  args.with_grad = args.with_grad || args.grad_one.data;
  args.grad_kl = gradients.kl;
  args.grad_mu = gradients.mu;
  args.grad_latent_logvar = gradients.logvar;
}

// The sums over columns or samples, each by a launch of its own.
void run_shared(const ElboArgs& elbo, const LossGradients& gradients, Session& session) {
  constexpr int64_t most_groups = 64, least_group = 32;
  for (int k = 1; k < elbo.parameters; ++k) {
    const bool column = elbo.binding[k] == Binding::column;
    if (!gradients.params[k].data || !(column || elbo.binding[k] == Binding::sample)) continue;
    SharedGradientArgs args{};
    args.elbo = elbo;
    args.which = k;
    args.result = {gradients.params[k].data, gradients.params[k].dtype, 1, 0};
    args.group = std::max(least_group, ceil_div(elbo.rows, most_groups));
    args.groups = std::max<int64_t>(1, ceil_div(elbo.rows, args.group));
    const int64_t runs = ceil_div(elbo.cols, block_threads);
    if (runs > most_tickets) {
      args.group = std::max<int64_t>(1, elbo.rows);
      args.groups = 1;
    }
    if (column && args.groups > 1) args.shared = session.share(args.groups * elbo.cols, runs);
    const int64_t blocks = column ? runs * args.groups : elbo.target_rows;
    if (!blocks) continue;
    args.elbo.plan.blocks = std::min<int64_t>(blocks, session.resident_blocks() * 8);
    Session::check(shared_gradient(args, session.stream()));
  }
}

void run(ElboArgs args, Session& session) {
  lay_out_single_rows(args);
  // Two parameters where there may be two: the kernels are those of the likelihood.
  const bool pair = args.likelihood == Likelihood::gaussian || args.likelihood == Likelihood::laplace;
  const int packet = nll_packet_of(args.param[0].dtype, pair ? 2 : 1);
  if (args.per_row) {
    args.plan = by_row(args.results, args.draws, args.cols, packet, session.resident_blocks());
    if (args.plan.splits > 1) args.shared = session.share(args.results * args.plan.splits * 3, args.results);
  } else {
    join_rows(args);
    args.plan = pooled(args.rows, args.cols, packet, session.resident_blocks(),
                       args.batch * std::max<int64_t>(args.latents, 1));
    const bool with_sums = args.loss.data || args.grad_one.data;
    if (with_sums) args.shared = session.share(args.plan.blocks * 3, 1);
    // Gradients of the KL alone need no look at the reconstruction.
    if (!with_sums && !args.values.data && !args.with_grad) args.plan.tiles = 0;
  }
  args.with_value = args.loss.data || args.values.data;
  args.in_packets = in_packets(args, packet);
  Session::check(elbo(args, session.stream()));
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor, std::vector<Tensor>> elbo_with_grad(LossArguments given, int64_t wants) {
  Session session(given.params[0]);
  const Device device = device_of(given.params[0]);
  const LossInputs inputs(given);
  const LossGradients gradients(inputs, given, wants);
  ElboArgs args = arguments(inputs, given);
  set_gradients(args, gradients);

  if (inputs.reduce == Reduction::none) {
    Tensor values = inputs.layout.allocate(sizes_of(given.params[0]), inputs.lead, inputs.dtype);
    args.values = dense(values, inputs.cols);
    run(args, session);
    return {values, empty({0}, inputs.dtype, device), empty({0}, inputs.dtype, device), {}};
  }
  args.per_row = inputs.by_row();
  args.draws = inputs.reduce == Reduction::sample ? inputs.samples : 1;
  args.results = args.rows / args.draws;
  const bool with_kl = given.kl || given.mu;
  const Sizes shape = inputs.result_sizes();
  Tensor loss = empty(shape, inputs.dtype, device);
  Tensor recon_out = empty(with_kl ? shape : Sizes{0}, inputs.dtype, device);
  Tensor kl_out = empty(with_kl ? shape : Sizes{0}, inputs.dtype, device);
  const auto view = [&](const Tensor& t) { return Operand{t.data_ptr(), dtype_of(t), args.per_row, 0}; };
  args.loss = view(loss);
  if (with_kl) {
    args.recon_out = view(recon_out);
    args.kl_out = view(kl_out);
  }
  run(args, session);
  run_shared(args, gradients, session);
  return {loss, recon_out, kl_out, gradients.list};
}

std::tuple<Tensor, Tensor, Tensor> elbo(LossArguments args) {
  auto [loss, recon_out, kl_out, none] = elbo_with_grad(std::move(args), 0);
  return {loss, recon_out, kl_out};
}

namespace {

void backward(const Tensor& grad, const LossInputs& inputs, const LossArguments& given,
              const LossGradients& gradients, bool unless_one, Session& session) {
  ElboArgs args = arguments(inputs, given);
  args.kl = {};  // its value is not needed
  set_gradients(args, gradients);
  args.unless_one = unless_one;
  Tensor rows = grad;
  if (inputs.reduce == Reduction::none) {
    args.grad_out = inputs.elements;
  } else if (inputs.by_row()) {
    if (inputs.reduce == Reduction::draw) rows = torch::stable::reshape(grad, {args.rows});
    args.grad_out = per_row(rows);
    args.grad_out_of_target = inputs.reduce == Reduction::sample;
  } else {
    args.grad = one_element(grad);
  }
  run(args, session);
  run_shared(args, gradients, session);
}

}  // namespace

std::vector<Tensor> elbo_backward(Tensor grad, LossArguments given, int64_t wants) {
  Session session(given.params[0]);
  const LossInputs inputs(given, given.reduction == Reduction::none ? &grad : nullptr);
  const LossGradients gradients(inputs, given, wants);
  backward(grad, inputs, given, gradients, false, session);
  return gradients.list;
}

void elbo_regrad(Tensor grad, std::vector<Tensor> list, LossArguments given, int64_t wants) {
  Session session(given.params[0]);
  const LossInputs inputs(given);
  const LossGradients gradients(inputs, std::move(list), wants);
  backward(grad, inputs, given, gradients, true, session);
}

}  // namespace cuda
}  // namespace vae_fast
