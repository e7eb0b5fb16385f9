// Operators of the categorical latent on CUDA devices. Each call is one launch.
#include "operators.h"
#include "packets.h"
#include "session.h"

namespace vae_fast {
namespace cuda {

namespace {

CategoricalArgs args_of(const Tensor& logits, const Tensor& seed, const OptionalTensor& tau_tensor,
                        double tau) {
  CategoricalArgs args{};
  args.batch = logits.size(0);
  args.categories = logits.size(logits.dim() - 1);
  args.variables = event_of(logits) / args.categories;
  args.tau = tau;
  if (tau_tensor) args.tau_tensor = one_element(*tau_tensor);
  args.seed = static_cast<const int64_t*>(seed.data_ptr());
  args.logits = dense(logits, args.categories);
  return args;
}

bool in_packets(const CategoricalArgs& args) {
  const DType dtype = args.logits.dtype;
  return PacketCheck(categories_of_lane, 0, args.categories)
      .require(args.categories % categories_of_lane == 0)
      .allow(args.logits, dtype)
      .allow(args.y, dtype)
      .allow(args.grad_y, dtype)
      .allow(args.grad_logits, dtype)
      .ok();
}

}  // namespace

std::tuple<Tensor, Tensor> gumbel_softmax_kl(Tensor logits, Tensor seed, OptionalTensor tau_tensor,
                                             double tau, bool hard) {
  Session session(logits);
  const Device device = device_of(logits);
  logits = torch::stable::contiguous(logits);
  CategoricalArgs args = args_of(logits, seed, tau_tensor, tau);
  args.hard = hard;
  Tensor y = empty(sizes_of(logits), logits.scalar_type(), device);
  Tensor kl = empty({args.batch}, accumulate_type(is_double(logits)), device);
  args.y = dense(y, args.categories);
  args.kl = per_row(kl);
  by_sample(args, session.resident_blocks());
  if (args.plan.splits > 1) args.shared = session.share(args.batch * args.plan.splits, args.batch);
  args.in_packets = in_packets(args);
  Session::check(categorical(args, session.stream()));
  return {y, kl};
}

Tensor gumbel_softmax_kl_backward(OptionalTensor grad_y, OptionalTensor grad_kl, Tensor logits, Tensor seed,
                                  OptionalTensor tau_tensor, double tau) {
  Session session(logits);
  logits = torch::stable::contiguous(logits);
  CategoricalArgs args = args_of(logits, seed, tau_tensor, tau);
  Tensor grad = empty(sizes_of(logits), logits.scalar_type(), device_of(logits));
  args.grad_logits = dense(grad, args.categories);
  OptionalTensor dense_grad;
  if (grad_y) {
    dense_grad = torch::stable::contiguous(*grad_y);
    args.grad_y = dense(*dense_grad, args.categories);
  }
  if (grad_kl) args.grad_kl = per_row(*grad_kl);
  by_variable(args, session.resident_blocks());
  args.in_packets = in_packets(args);
  Session::check(categorical_backward(args, session.stream()));
  return grad;
}

}  // namespace cuda
}  // namespace vae_fast
