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

template <class F, class P, class Q>
struct Packets {
  template <Pass pass>
  using Row = NllPackets<F, P, Q, pass>;
};
template <class F, class T>
struct Elements {
  template <Pass pass>
  using Row = NllElements<F, T, pass>;
};

// Calls launch.run<F>(args, stream) with the functor of the likelihood.
template <class T, class Launch>
inline const char* with_functor(const Launch& launch, const ElboArgs& args, void* stream) {
  if (args.likelihood == Likelihood::bernoulli) return launch.template run<Bernoulli<T>>(args, stream);
  if (!args.logvar.data) return launch.template run<GaussianUnit<T>>(args, stream);
  return args.shared_logvar ? launch.template run<GaussianShared<T>>(args, stream)
                            : launch.template run<GaussianElement<T>>(args, stream);
}

template <class P>
struct LaunchPackets {
  template <class F>
  static const char* run(const ElboArgs& args, void* stream) {
    if (args.target.dtype == Storage<P>::dtype)
      return launch_pass<Packets<F, P, P>::template Row>(args, stream);
    if (args.target.dtype == DType::float32)
      return launch_pass<Packets<F, P, float>::template Row>(args, stream);
    return launch_pass<Packets<F, P, byte>::template Row>(args, stream);
  }
};

template <class T>
struct LaunchElements {
  template <class F>
  static const char* run(const ElboArgs& args, void* stream) {
    return launch_pass<Elements<F, T>::template Row>(args, stream);
  }
};

template <class P>
inline const char* elbo_packets(const ElboArgs& args, void* stream) {
  return with_functor<typename Storage<P>::compute>(LaunchPackets<P>{}, args, stream);
}

template <class T>
inline const char* elbo_elements(const ElboArgs& args, void* stream) {
  return with_functor<T>(LaunchElements<T>{}, args, stream);
}

}  // namespace cuda
}  // namespace vae_fast
