// From the arguments of a loss to one of its kernels, for parameters of one dtype.
#pragma once

#include "likelihood_kernel.cuh"

namespace vae_fast {
namespace cuda {

template <class F, class S>
inline const char* launch_packets(const ElboArgs& args, void* stream) {
  const auto kernel = args.with_value ? elbo_kernel<NllPackets<F, S, Pass::values>>
                                      : elbo_kernel<NllPackets<F, S, Pass::gradients>>;
  return launch(kernel, args.plan.blocks, block_threads, stream, args);
}

template <class S>
inline const char* elbo_packets(const ElboArgs& args, void* stream) {
  using T = typename Storage<S>::compute;
  switch (args.likelihood) {
    case Likelihood::bernoulli: return launch_packets<Bernoulli<T>, S>(args, stream);
    case Likelihood::gaussian: return launch_packets<Gaussian<T>, S>(args, stream);
    case Likelihood::laplace: return launch_packets<Laplace<T>, S>(args, stream);
    default: return launch_packets<Poisson<T>, S>(args, stream);
  }
}

}  // namespace cuda
}  // namespace vae_fast
