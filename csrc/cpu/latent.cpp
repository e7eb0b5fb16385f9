// Operators of the latent layer on CPU: sampling, Gaussian KL, and their gradients.
#include <limits>

#include "host.h"
#include "operators.h"

namespace vae_fast {
namespace cpu {

namespace {

int64_t batch_of(const Tensor& t) { return t.size(0); }

uint64_t seed_of(const OptionalTensor& seed) {
  return seed ? static_cast<uint64_t>(*static_cast<const int64_t*>(seed->data_ptr())) : 0;
}

double sum_of(const double* partial, int64_t n) {
  double total = 0;
  for (int64_t i = 0; i < n; ++i) total += partial[i];
  return total;
}

}  // namespace

std::tuple<Tensor, Tensor> reparameterize_kl(Tensor mu, Tensor logvar, OptionalTensor seed,
                                             OptionalTensor eps, std::optional<int64_t> num_samples,
                                             bool with_kl) {
  const int64_t batch = batch_of(mu), cols = event_of(mu), samples = num_samples.value_or(1);
  Sizes z_sizes = sizes_of(mu);
  if (num_samples) z_sizes.insert(z_sizes.begin(), samples);
  Tensor z = empty(z_sizes, mu.scalar_type());
  Tensor kl = empty({with_kl ? batch : 0}, accumulate_type(is_double(mu)));

  RowLayout layout(mu, static_cast<int64_t>(mu.dim()));  // the noise is numbered in logical order
  SampleArgs args{};
  args.split = Split::of(samples * batch, cols);
  args.batch = batch;
  args.is_double = is_double(mu);
  args.mu = layout.rows(mu, 1);
  args.logvar = layout.rows(logvar, 1);
  args.seed = seed_of(seed);
  OptionalTensor dense_eps;
  if (eps) {
    dense_eps = torch::stable::contiguous(*eps);
    args.eps = dense(*dense_eps, cols);
  }
  args.z = dense(z, cols);
  const Workspace sums(with_kl ? batch * args.split.per_row : 0);
  args.kl_sums = with_kl ? sums.data() : nullptr;
  const Kernels& table = kernels();
  parallel(args.split.units(), args.split.chunk * 4,
           [&](int64_t begin, int64_t end) { table.sample(args, begin, end); });
  const Elements kl_out(kl);
  if (with_kl)
    for (int64_t b = 0; b < batch; ++b)
      kl_out.set(b, sum_of(sums.data() + b * args.split.per_row, args.split.per_row));
  return {z, kl};
}

std::tuple<Tensor, Tensor> reparameterize_kl_backward(OptionalTensor grad_z, OptionalTensor grad_kl,
                                                      Tensor mu, Tensor logvar, OptionalTensor seed,
                                                      OptionalTensor eps) {
  const int64_t batch = batch_of(mu), cols = event_of(mu);
  Tensor grad_mu = empty(sizes_of(mu), mu.scalar_type());
  Tensor grad_logvar = empty(sizes_of(mu), logvar.scalar_type());
  RowLayout layout(mu, static_cast<int64_t>(mu.dim()));
  SampleBackwardArgs args{};
  args.split = Split::of(batch, cols);
  args.is_double = is_double(mu);
  args.mu = layout.rows(mu, 1);
  args.logvar = layout.rows(logvar, 1);
  args.seed = seed_of(seed);
  OptionalTensor dense_eps;
  if (eps) {
    dense_eps = torch::stable::contiguous(*eps);
    args.eps = dense(*dense_eps, cols);
  }
  if (grad_z) {
    const int64_t lead = grad_z->dim() > mu.dim() ? 2 : 1;
    args.samples = lead == 2 ? grad_z->size(0) : 1;
    args.grad_z = layout.rows(*grad_z, lead);
  }
  if (grad_kl) args.grad_kl = per_row(*grad_kl);
  args.grad_mu = dense(grad_mu, cols);
  args.grad_logvar = dense(grad_logvar, cols);
  const Kernels& table = kernels();
  parallel(args.split.units(), args.split.chunk * 4,
           [&](int64_t begin, int64_t end) { table.sample_backward(args, begin, end); });
  return {grad_mu, grad_logvar};
}

Tensor gaussian_kl(Tensor mu, Tensor logvar, OptionalTensor prior_mu, OptionalTensor prior_logvar,
                   int64_t reduction) {
  const Reduction reduce = static_cast<Reduction>(reduction);
  const int64_t batch = batch_of(mu), cols = event_of(mu);
  RowLayout layout(mu, 1);
  for (const OptionalTensor& other : {OptionalTensor(logvar), prior_mu, prior_logvar})
    if (other) layout.require(*other, 1);
  KlArgs args{};
  args.split = Split::of(batch, cols);
  args.is_double = is_double(mu);
  args.mu = layout.rows(mu, 1);
  args.logvar = layout.rows(logvar, 1);
  if (prior_mu) args.prior_mu = layout.rows(*prior_mu, 1);
  if (prior_logvar) args.prior_logvar = layout.rows(*prior_logvar, 1);
  const ScalarType dtype = accumulate_type(args.is_double);
  const Kernels& table = kernels();
  const auto run = [&] {
    parallel(args.split.units(), args.split.chunk,
             [&](int64_t begin, int64_t end) { table.kl(args, begin, end); });
  };
  if (reduce == Reduction::none) {
    Tensor values = layout.allocate(sizes_of(mu), 1, dtype);
    args.values = dense(values, cols);
    run();
    return values;
  }
  const Workspace sums(args.split.units());
  args.value_sums = sums.data();
  run();
  if (reduce == Reduction::sample) {
    Tensor out = empty({batch}, dtype);
    const Elements elements(out);
    for (int64_t b = 0; b < batch; ++b)
      elements.set(b, sum_of(sums.data() + b * args.split.per_row, args.split.per_row));
    return out;
  }
  const double total = sum_of(sums.data(), args.split.units());
  const double count = reduce == Reduction::sum ? 1.0
                       : reduce == Reduction::batchmean
                           ? static_cast<double>(batch)
                           : static_cast<double>(batch) * static_cast<double>(cols);
  Tensor out = empty({}, dtype);
  fill_scalar(out, total / count);
  return out;
}

std::vector<Tensor> gaussian_kl_backward(Tensor grad, Tensor mu, Tensor logvar, OptionalTensor prior_mu,
                                         OptionalTensor prior_logvar, int64_t reduction, int64_t wants) {
  const Reduction reduce = static_cast<Reduction>(reduction);
  const int64_t batch = batch_of(mu), cols = event_of(mu);
  RowLayout layout(mu, 1);
  for (const OptionalTensor& other : {OptionalTensor(logvar), prior_mu, prior_logvar})
    if (other) layout.require(*other, 1);
  if (reduce == Reduction::none) layout.require(grad, 1);
  KlArgs args{};
  args.split = Split::of(batch, cols);
  args.is_double = is_double(mu);
  args.mu = layout.rows(mu, 1);
  args.logvar = layout.rows(logvar, 1);
  if (prior_mu) args.prior_mu = layout.rows(*prior_mu, 1);
  if (prior_logvar) args.prior_logvar = layout.rows(*prior_logvar, 1);
  args.grad_scale = 1.0;
  if (reduce == Reduction::none) {
    args.grad_out = layout.rows(grad, 1);
  } else if (reduce == Reduction::sample) {
    args.grad_out = per_row(grad);
  } else {
    const double count = reduce == Reduction::sum ? 1.0
                         : reduce == Reduction::batchmean
                             ? static_cast<double>(batch)
                             : static_cast<double>(batch) * static_cast<double>(cols);
    args.grad_scale = scalar_of(grad) / count;
  }
  std::vector<Tensor> grads;
  const auto wanted = [&](int64_t bit, const Tensor& like, Operand* operand) {
    if (!(wants & bit)) return;
    grads.push_back(layout.allocate(sizes_of(mu), 1, like.scalar_type()));
    *operand = dense(grads.back(), cols);
  };
  wanted(want_kl_mu, mu, &args.grad_mu);
  wanted(want_kl_logvar, logvar, &args.grad_logvar);
  if (prior_mu) wanted(want_prior_mu, *prior_mu, &args.grad_prior_mu);
  if (prior_logvar) wanted(want_prior_logvar, *prior_logvar, &args.grad_prior_logvar);
  const Kernels& table = kernels();
  parallel(args.split.units(), args.split.chunk,
           [&](int64_t begin, int64_t end) { table.kl(args, begin, end); });
  return grads;
}

}  // namespace cpu
}  // namespace vae_fast
