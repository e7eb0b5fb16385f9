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
    auto kernel = sample_kernel<SampleRow<typename Storage<P>::compute, false>>;
    // float64 has no packets, see likelihood_kernel.cuh.
    if constexpr (sizeof(P) < 8)
      if (args.in_packets) kernel = sample_kernel<SampleRow<P, true>>;
    return launch(kernel, args.plan.blocks, block_threads, stream, args);
  }
};

template <class P>
struct SampleBackward {
  static const char* run(const SampleBackwardArgs& args, void* stream) {
    auto kernel = sample_backward_kernel<SampleBackwardRow<typename Storage<P>::compute, false>>;
    if constexpr (sizeof(P) < 8)
      if (args.in_packets) kernel = sample_backward_kernel<SampleBackwardRow<P, true>>;
    return launch(kernel, args.plan.blocks, block_threads, stream, args);
  }
};

template <class P>
struct Kl {
  static const char* run(const KlArgs& args, void* stream) {
    auto kernel = kl_kernel<KlElements<typename Storage<P>::compute>>;
    if constexpr (sizeof(P) < 8)
      if (args.in_packets) kernel = kl_kernel<KlPackets<P>>;
    return launch(kernel, args.plan.blocks, block_threads, stream, args);
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
