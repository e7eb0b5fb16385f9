// From the arguments of a loss to one of its kernels, for parameters of one dtype.
#pragma once

#include "likelihood_kernel.cuh"

namespace vae_fast {
namespace cuda {

// Row is NllPackets or NllElements with its types bound.
template <template <Pass> class Row>
inline const char* launch_pass(const ElboArgs& args, void* stream) {
  const int64_t blocks = args.plan.blocks;
  if (args.per_row) return launch(elbo_by_row<Row<Pass::sums>>, blocks, block_threads, stream, args);
  if (args.values.data) return launch(elbo_pooled<Row<Pass::elements>>, blocks, block_threads, stream, args);
  if (!args.with_grad) return launch(elbo_pooled<Row<Pass::sums>>, blocks, block_threads, stream, args);
  return args.loss.data ? launch(elbo_pooled<Row<Pass::both>>, blocks, block_threads, stream, args)
                        : launch(elbo_pooled<Row<Pass::gradients>>, blocks, block_threads, stream, args);
}

template <class F, class P>
struct Rows {
  template <class Q>
  struct Of {
    template <Pass pass>
    using Packets = NllPackets<F, P, Q, pass>;
  };
  template <Pass pass>
  using Elements = NllElements<F, P, pass>;
};

template <class F, class P>
inline const char* launch_rows(const ElboArgs& args, void* stream) {
  using Of = Rows<F, P>;
  if constexpr (sizeof(P) < 8) {
    if (args.in_packets) {
      if (args.target.dtype == Storage<P>::dtype)
        return launch_pass<Of::template Of<P>::template Packets>(args, stream);
      if (args.target.dtype == DType::float32)
        return launch_pass<Of::template Of<float>::template Packets>(args, stream);
      return launch_pass<Of::template Of<byte>::template Packets>(args, stream);
    }
  }
  return launch_pass<Of::template Elements>(args, stream);
}

template <class P>
inline const char* launch_elbo(const ElboArgs& args, void* stream) {
  using T = typename Storage<P>::compute;
  if (args.likelihood == Likelihood::bernoulli) return launch_rows<Bernoulli<T>, P>(args, stream);
  if (!args.logvar.data) return launch_rows<GaussianUnit<T>, P>(args, stream);
  return args.shared_logvar ? launch_rows<GaussianShared<T>, P>(args, stream)
                            : launch_rows<GaussianElement<T>, P>(args, stream);
}

}  // namespace cuda
}  // namespace vae_fast
