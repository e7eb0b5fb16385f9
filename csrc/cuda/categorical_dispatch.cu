// From dtypes and numbers of categories to the kernels of the categorical latent.
#include "categorical_kernel.cuh"

namespace vae_fast {
namespace cuda {

namespace {

// Float64, which serves gradient checks, has no registers to hold categories between the passes.
template <class P>
constexpr bool may_hold = sizeof(P) < 8;

template <class P>
const char* sample_of(const CategoricalArgs& args, void* stream) {
  const auto kernel = args.tiles <= 1 ? categorical_kernel<P, may_hold<P>> : categorical_kernel<P, false>;
  return launch(kernel, args.plan.blocks, block_threads, stream, args);
}

template <class P>
const char* backward_of(const CategoricalArgs& args, void* stream) {
  const auto kernel =
      args.tiles <= 1 ? categorical_backward_kernel<P, may_hold<P>> : categorical_backward_kernel<P, false>;
  return launch(kernel, args.plan.blocks, block_threads, stream, args);
}

}  // namespace

const char* categorical(const CategoricalArgs& args, void* stream) {
  switch (args.logits.dtype) {
    case DType::float32: return sample_of<float>(args, stream);
    case DType::float64: return sample_of<double>(args, stream);
    case DType::bfloat16: return sample_of<bfloat16>(args, stream);
    default: return sample_of<float16>(args, stream);
  }
}

const char* categorical_backward(const CategoricalArgs& args, void* stream) {
  switch (args.logits.dtype) {
    case DType::float32: return backward_of<float>(args, stream);
    case DType::float64: return backward_of<double>(args, stream);
    case DType::bfloat16: return backward_of<bfloat16>(args, stream);
    default: return backward_of<float16>(args, stream);
  }
}

}  // namespace cuda
}  // namespace vae_fast
