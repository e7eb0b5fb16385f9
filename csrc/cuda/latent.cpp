// Operators of the latent layer on CUDA devices: sampling, Gaussian KL, and their gradients. Each call is
// one launch.
#include "operators.h"
#include "packets.h"
#include "session.h"

namespace vae_fast {
namespace cuda {

namespace {

const int64_t* seed_of(const OptionalTensor& seed) {
  return seed ? static_cast<const int64_t*>(seed->data_ptr()) : nullptr;
}

// Packets are groups of the noise, so they start where the number of an element of z is a multiple of four.
PacketCheck noise_packets(int64_t samples, int64_t batch, int64_t cols) {
  PacketCheck check(noise_packet, 0, cols);
  check.require(samples == 1 || batch * cols % noise_packet == 0);
  return check;
}

}  // namespace

std::tuple<Tensor, Tensor> reparameterize_kl(Tensor mu, Tensor logvar, OptionalTensor seed,
                                             OptionalTensor eps, std::optional<int64_t> num_samples,
                                             bool with_kl) {
  Session session(mu);
  const Device device = device_of(mu);
  const int64_t batch = mu.size(0), cols = event_of(mu), samples = num_samples.value_or(1);
  Sizes z_sizes = sizes_of(mu);
  if (num_samples) z_sizes.insert(z_sizes.begin(), samples);
  Tensor z = empty(z_sizes, mu.scalar_type(), device);
  Tensor kl = empty({with_kl ? batch : 0}, accumulate_type(is_double(mu)), device);

  RowLayout layout(mu, static_cast<int64_t>(mu.dim()));  // the noise is numbered in logical order
  SampleArgs args{};
  args.samples = samples;
  args.batch = batch;
  args.cols = cols;
  args.mu = layout.rows(mu, 1);
  args.logvar = layout.rows(logvar, 1);
  args.seed = seed_of(seed);
  OptionalTensor dense_eps;
  if (eps) {
    dense_eps = torch::stable::contiguous(*eps);
    args.eps = dense(*dense_eps, cols);
  }
  args.z = dense(z, cols);
  if (with_kl) args.kl = per_row(kl);
  args.plan = by_row(batch, 1, cols, noise_packet, session.resident_blocks());
  args.draw_groups = draw_groups_of(args.plan, batch, samples);
  args.plan.blocks =
      blocks_of(batch * args.draw_groups * args.plan.splits, args.plan.lanes, session.resident_blocks());
  if (with_kl && args.plan.splits > 1) args.shared = session.share(batch * args.plan.splits, batch);
  args.in_packets = noise_packets(samples, batch, cols)
                        .require(!eps && mu.scalar_type() != ScalarType::Double)
                        .allow(args.mu, args.mu.dtype)
                        .allow(args.logvar, args.mu.dtype)
                        .allow(args.z, args.mu.dtype)
                        .ok();
  Session::check(sample(args, session.stream()));
  return {z, kl};
}

std::tuple<Tensor, Tensor> reparameterize_kl_backward(OptionalTensor grad_z, OptionalTensor grad_kl,
                                                      Tensor mu, Tensor logvar, OptionalTensor seed,
                                                      OptionalTensor eps) {
  Session session(mu);
  const Device device = device_of(mu);
  const int64_t batch = mu.size(0), cols = event_of(mu);
  Tensor grad_mu = empty(sizes_of(mu), mu.scalar_type(), device);
  Tensor grad_logvar = empty(sizes_of(mu), logvar.scalar_type(), device);
  RowLayout layout(mu, static_cast<int64_t>(mu.dim()));
  SampleBackwardArgs args{};
  args.batch = batch;
  args.cols = cols;
  args.mu = layout.rows(mu, 1);
  args.logvar = layout.rows(logvar, 1);
  args.seed = seed_of(seed);
  OptionalTensor dense_eps;
  if (eps) {
    dense_eps = torch::stable::contiguous(*eps);
    args.eps = dense(*dense_eps, cols);
  }
  args.samples = 1;
  if (grad_z) {
    const int64_t lead = grad_z->dim() > mu.dim() ? 2 : 1;
    if (lead == 2) args.samples = grad_z->size(0);
    args.grad_z = layout.rows(*grad_z, lead);
  }
  if (grad_kl) args.grad_kl = per_row(*grad_kl);
  args.grad_mu = dense(grad_mu, cols);
  args.grad_logvar = dense(grad_logvar, cols);
  args.plan = pooled(batch, cols, noise_packet, session.resident_blocks());
  args.in_packets = noise_packets(args.samples, batch, cols)
                        .require(!eps && mu.scalar_type() != ScalarType::Double)
                        .allow(args.mu, args.mu.dtype)
                        .allow(args.logvar, args.mu.dtype)
                        .allow(args.grad_z, args.mu.dtype)
                        .allow(args.grad_mu, args.mu.dtype)
                        .allow(args.grad_logvar, args.mu.dtype)
                        .ok();
  Session::check(sample_backward(args, session.stream()));
  return {grad_mu, grad_logvar};
}

namespace {

// The inputs of a KL viewed, and its scale.
KlArgs kl_arguments(RowLayout& layout, const Tensor& mu, const Tensor& logvar, const OptionalTensor& prior_mu,
                    const OptionalTensor& prior_logvar, Reduction reduce) {
  for (const OptionalTensor& other : {OptionalTensor(logvar), prior_mu, prior_logvar})
    if (other) layout.require(*other, 1);
  KlArgs args{};
  args.batch = mu.size(0);
  args.cols = event_of(mu);
  args.mu = layout.rows(mu, 1);
  args.logvar = layout.rows(logvar, 1);
  if (prior_mu) args.prior_mu = layout.rows(*prior_mu, 1);
  if (prior_logvar) args.prior_logvar = layout.rows(*prior_logvar, 1);
  const double batch = static_cast<double>(args.batch);
  args.scale = reduce == Reduction::batchmean ? 1.0 / batch
               : reduce == Reduction::mean    ? 1.0 / (batch * static_cast<double>(args.cols))
                                              : 1.0;
  return args;
}

void run(KlArgs args, Session& session) {
  const int packet = kl_packet_of(args.mu.dtype);
  args.with_prior = args.prior_mu.data || args.prior_logvar.data;
  args.with_grad = !args.result.data && !args.values.data;
  if (args.per_row) {
    args.plan = by_row(args.batch, 1, args.cols, packet, session.resident_blocks());
    if (args.plan.splits > 1) args.shared = session.share(args.batch * args.plan.splits, args.batch);
  } else {
    args.plan = pooled(args.batch, args.cols, packet, session.resident_blocks());
    if (args.result.data) args.shared = session.share(args.plan.blocks, 1);
  }
  const DType dtype = args.mu.dtype;
  PacketCheck check(packet, args.mu);
  check.require(dtype != DType::float64).require(!args.grad_out.data || args.grad_out.col_stride == 0);
  for (const Operand* a : {&args.mu, &args.logvar, &args.prior_mu, &args.prior_logvar, &args.grad_mu,
                           &args.grad_logvar, &args.grad_prior_mu, &args.grad_prior_logvar})
    check.allow(*a, dtype);
  check.allow(args.values, DType::float32).require(!args.prior_mu.data == !args.prior_logvar.data);
  args.in_packets = check.ok();
  Session::check(kl(args, session.stream()));
}

}  // namespace

Tensor gaussian_kl(Tensor mu, Tensor logvar, OptionalTensor prior_mu, OptionalTensor prior_logvar,
                   int64_t reduction) {
  Session session(mu);
  const Reduction reduce = static_cast<Reduction>(reduction);
  const ScalarType dtype = accumulate_type(is_double(mu));
  RowLayout layout(mu, 1);
  KlArgs args = kl_arguments(layout, mu, logvar, prior_mu, prior_logvar, reduce);
  args.per_row = reduce == Reduction::sample;
  Tensor out = reduce == Reduction::none
                   ? layout.allocate(sizes_of(mu), 1, dtype)
                   : empty(args.per_row ? Sizes{args.batch} : Sizes{}, dtype, device_of(mu));
  if (reduce == Reduction::none)
    args.values = dense(out, args.cols);
  else
    args.result = args.per_row ? per_row(out) : one_element(out);
  run(args, session);
  return out;
}

std::vector<Tensor> gaussian_kl_backward(Tensor grad, Tensor mu, Tensor logvar, OptionalTensor prior_mu,
                                         OptionalTensor prior_logvar, int64_t reduction, int64_t wants) {
  Session session(mu);
  const Reduction reduce = static_cast<Reduction>(reduction);
  RowLayout layout(mu, 1);
  if (reduce == Reduction::none) layout.require(grad, 1);
  KlArgs args = kl_arguments(layout, mu, logvar, prior_mu, prior_logvar, reduce);
  if (reduce == Reduction::none)
    args.grad_out = layout.rows(grad, 1);
  else if (reduce == Reduction::sample)
    args.grad_out = per_row(grad);
  else
    args.grad = one_element(grad);
  std::vector<Tensor> grads;
  const auto wanted = [&](int64_t bit, const Tensor& like, Operand* operand) {
    if (!(wants & bit)) return;
    grads.push_back(layout.allocate(sizes_of(mu), 1, like.scalar_type()));
    *operand = dense(grads.back(), args.cols);
  };
  wanted(want_kl_mu, mu, &args.grad_mu);
  wanted(want_kl_logvar, logvar, &args.grad_logvar);
  if (prior_mu) wanted(want_prior_mu, *prior_mu, &args.grad_prior_mu);
  if (prior_logvar) wanted(want_prior_logvar, *prior_logvar, &args.grad_prior_logvar);
  run(args, session);
  return grads;
}

}  // namespace cuda
}  // namespace vae_fast
