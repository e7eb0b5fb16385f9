// Registration of the CUDA kernels through PyTorch's stable ABI, and nothing else, in a shared object of its
// own. The simulator of tests/simt registers them for the CPU.
#include <torch/csrc/stable/library.h>

#include "cuda/operators.h"

#ifndef VAE_FAST_DISPATCH_KEY
#define VAE_FAST_DISPATCH_KEY CUDA
#endif

namespace cuda = vae_fast::cuda;

STABLE_TORCH_LIBRARY_IMPL(vae_fast, VAE_FAST_DISPATCH_KEY, m) {
  m.impl("reparameterize_kl", TORCH_BOX(&cuda::reparameterize_kl));
  m.impl("reparameterize_kl_raw", TORCH_BOX(&cuda::reparameterize_kl));
  m.impl("reparameterize_kl_backward", TORCH_BOX(&cuda::reparameterize_kl_backward));
  m.impl("gaussian_kl", TORCH_BOX(&cuda::gaussian_kl));
  m.impl("gaussian_kl_raw", TORCH_BOX(&cuda::gaussian_kl));
  m.impl("gaussian_kl_backward", TORCH_BOX(&cuda::gaussian_kl_backward));
  m.impl("gumbel_softmax_kl", TORCH_BOX(&cuda::gumbel_softmax_kl));
  m.impl("gumbel_softmax_kl_raw", TORCH_BOX(&cuda::gumbel_softmax_kl));
  m.impl("gumbel_softmax_kl_backward", TORCH_BOX(&cuda::gumbel_softmax_kl_backward));
  m.impl("elbo", TORCH_BOX(&cuda::elbo));
  m.impl("elbo_with_grad", TORCH_BOX(&cuda::elbo_with_grad));
  m.impl("elbo_backward", TORCH_BOX(&cuda::elbo_backward));
  m.impl("elbo_regrad", TORCH_BOX(&cuda::elbo_regrad));
}
