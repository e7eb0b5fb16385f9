// Operators of the categorical latent on CPU: Gumbel-softmax samples with their KL, and their gradient.
#include "host.h"
#include "operators.h"

namespace vae_fast {
namespace cpu {

namespace {

CategoricalArgs args_of(const Tensor& logits, const Tensor& seed, const OptionalTensor& tau_tensor,
                        double tau) {
  constexpr int64_t longest = 1 << 14;  // elements of a unit
  CategoricalArgs args{};
  args.batch = logits.size(0);
  args.categories = logits.size(logits.dim() - 1);
  args.variables = args.categories ? event_of(logits) / args.categories : 0;
  const int64_t most = args.categories ? longest / args.categories : 1;
  args.chunk = most < 1 ? 1 : most < args.variables ? most : args.variables;
  args.per_row = args.chunk ? (args.variables + args.chunk - 1) / args.chunk : 0;
  args.is_double = is_double(logits);
  args.tau = tau_tensor ? scalar_of(*tau_tensor) : tau;
  args.seed = static_cast<uint64_t>(*static_cast<const int64_t*>(seed.data_ptr()));
  args.logits = dense(logits, event_of(logits));
  return args;
}

}  // namespace

std::tuple<Tensor, Tensor> gumbel_softmax_kl(Tensor logits, Tensor seed, OptionalTensor tau_tensor,
                                             double tau, bool hard) {
  logits = torch::stable::contiguous(logits);
  CategoricalArgs args = args_of(logits, seed, tau_tensor, tau);
  args.hard = hard;
  Tensor y = empty(sizes_of(logits), logits.scalar_type());
  Tensor kl = empty({args.batch}, accumulate_type(args.is_double));
  args.y = dense(y, event_of(y));
  const Workspace sums(args.batch * args.per_row);
  args.kl_sums = sums.data();
  const Kernels& table = kernels();
  parallel(args.batch * args.per_row, args.chunk * args.categories * 8,
           [&](int64_t begin, int64_t end) { table.categorical(args, begin, end); });
  const Elements out(kl);
  for (int64_t b = 0; b < args.batch; ++b) {
    double total = 0;
    for (int64_t i = 0; i < args.per_row; ++i) total += sums.data()[b * args.per_row + i];
    out.set(b, total);
  }
  return {y, kl};
}

Tensor gumbel_softmax_kl_backward(OptionalTensor grad_y, OptionalTensor grad_kl, Tensor logits, Tensor seed,
                                  OptionalTensor tau_tensor, double tau) {
  logits = torch::stable::contiguous(logits);
  CategoricalArgs args = args_of(logits, seed, tau_tensor, tau);
  Tensor grad = empty(sizes_of(logits), logits.scalar_type());
  args.grad_logits = dense(grad, event_of(grad));
  OptionalTensor dense_grad;
  if (grad_y) {
    dense_grad = torch::stable::contiguous(*grad_y);
    args.grad_y = dense(*dense_grad, event_of(grad));
  }
  if (grad_kl) args.grad_kl = per_row(*grad_kl);
  const Kernels& table = kernels();
  parallel(args.batch * args.per_row, args.chunk * args.categories * 8,
           [&](int64_t begin, int64_t end) { table.categorical_backward(args, begin, end); });
  return grad;
}

}  // namespace cpu
}  // namespace vae_fast
