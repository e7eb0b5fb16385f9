// From dtypes to kernels. The row kernels of the likelihoods are compiled one dtype a file, in parallel.
#include "kl_kernel.cuh"
#include "latent_kernel.cuh"

namespace vae_fast {
namespace cuda {

namespace {

template <template <class> class Launch, class Args>
const char* by_dtype(const Args& args, void* stream) {
  switch (args.mu.dtype) {
    case DType::float32: return Launch<float>::run(args, stream);
    case DType::float64: return Launch<double>::run(args, stream);
    case DType::bfloat16: return Launch<bfloat16>::run(args, stream);
    default: return Launch<float16>::run(args, stream);
  }
}

template <class P>
struct Sample {
  static const char* run(const SampleArgs& args, void* stream) {
    const auto kernel = args.in_packets ? sample_kernel<SampleRow<P, true>>
                                        : sample_kernel<SampleRow<typename Storage<P>::compute, false>>;
    return launch(kernel, args.plan.blocks, block_threads, stream, args);
  }
};

template <class P>
struct SampleBackward {
  static const char* run(const SampleBackwardArgs& args, void* stream) {
    const auto kernel = args.in_packets
                            ? sample_backward_kernel<SampleBackwardRow<P, true>>
                            : sample_backward_kernel<SampleBackwardRow<typename Storage<P>::compute, false>>;
    return launch(kernel, args.plan.blocks, block_threads, stream, args);
  }
};

template <template <class, bool, bool> class Row, class P, bool with_prior>
const char* kl_of(const KlArgs& args, void* stream) {
  const auto kernel = args.per_row                           ? kl_by_row<Row<P, with_prior, false>>
                      : args.result.data || args.values.data ? kl_pooled<Row<P, with_prior, false>>
                                                             : kl_backward<Row<P, with_prior, true>>;
  return launch(kernel, args.plan.blocks, block_threads, stream, args);
}

template <class P>
struct Kl {
  static const char* run(const KlArgs& args, void* stream) {
    const bool with_prior = args.prior_mu.data || args.prior_logvar.data;
    if constexpr (sizeof(P) < 8) {  // float64 has no packets, see likelihood_kernel.cuh
      if (args.in_packets)
        return with_prior ? kl_of<KlPackets, P, true>(args, stream)
                          : kl_of<KlPackets, P, false>(args, stream);
    }
    using T = typename Storage<P>::compute;
    return with_prior ? kl_of<KlElements, T, true>(args, stream) : kl_of<KlElements, T, false>(args, stream);
  }
};

}  // namespace

const char* sample(const SampleArgs& args, void* stream) { return by_dtype<Sample>(args, stream); }
const char* sample_backward(const SampleBackwardArgs& args, void* stream) {
  return by_dtype<SampleBackward>(args, stream);
}
const char* kl(const KlArgs& args, void* stream) { return by_dtype<Kl>(args, stream); }

}  // namespace cuda
}  // namespace vae_fast
