// The kernels of any likelihood, dtype and layout, and of shared parameters' gradients.
#include "likelihood_kernel.cuh"
#include "shared_gradient_kernel.cuh"

namespace vae_fast {
namespace cuda {

const char* elbo_float32_packets(const ElboArgs& args, void* stream);
const char* elbo_bfloat16_packets(const ElboArgs& args, void* stream);
const char* elbo_float16_packets(const ElboArgs& args, void* stream);

namespace {

template <class T>
const char* launch_elements(const ElboArgs& args, void* stream) {
  return launch(elbo_kernel<NllElements<T>>, args.plan.blocks, block_threads, stream, args);
}

}  // namespace

const char* elbo(const ElboArgs& args, void* stream) {
  const DType dtype = args.param[0].dtype;
  if (!args.in_packets)
    return dtype == DType::float64 ? launch_elements<double>(args, stream)
                                   : launch_elements<float>(args, stream);
  return dtype == DType::float32    ? elbo_float32_packets(args, stream)
         : dtype == DType::bfloat16 ? elbo_bfloat16_packets(args, stream)
                                    : elbo_float16_packets(args, stream);
}

const char* shared_gradient(const SharedGradientArgs& args, void* stream) {
  const auto kernel = args.elbo.param[0].dtype == DType::float64 ? shared_gradient_kernel<double>
                                                                 : shared_gradient_kernel<float>;
  return launch(kernel, args.elbo.plan.blocks, block_threads, stream, args);
}

}  // namespace cuda
}  // namespace vae_fast
