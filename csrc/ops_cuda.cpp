// Registration of the CUDA kernels through PyTorch's stable ABI, and nothing else, in a shared object of its
// own. The simulator of tests/simt registers them for the CPU.
#include "boxing.h"
#include "cuda/operators.h"

#ifndef VAE_FAST_DISPATCH_KEY
#define VAE_FAST_DISPATCH_KEY CUDA
#endif

namespace cuda = vae_fast::cuda;

STABLE_TORCH_LIBRARY_IMPL(vae_fast, VAE_FAST_DISPATCH_KEY, m) {
  m.impl("reparameterize_kl", VAE_FAST_BOX(cuda::reparameterize_kl));
  m.impl("reparameterize_kl_raw", VAE_FAST_BOX(cuda::reparameterize_kl));
  m.impl("reparameterize_kl_backward", VAE_FAST_BOX(cuda::reparameterize_kl_backward));
  m.impl("gaussian_kl", VAE_FAST_BOX(cuda::gaussian_kl));
  m.impl("gaussian_kl_raw", VAE_FAST_BOX(cuda::gaussian_kl));
  m.impl("gaussian_kl_backward", VAE_FAST_BOX(cuda::gaussian_kl_backward));
  m.impl("gumbel_softmax_kl", VAE_FAST_BOX(cuda::gumbel_softmax_kl));
  m.impl("gumbel_softmax_kl_raw", VAE_FAST_BOX(cuda::gumbel_softmax_kl));
  m.impl("gumbel_softmax_kl_backward", VAE_FAST_BOX(cuda::gumbel_softmax_kl_backward));
  m.impl("elbo", VAE_FAST_BOX(cuda::elbo));
  m.impl("elbo_with_grad", VAE_FAST_BOX(cuda::elbo_with_grad));
  m.impl("elbo_backward", VAE_FAST_BOX(cuda::elbo_backward));
  m.impl("elbo_regrad", VAE_FAST_BOX(cuda::elbo_regrad));
}
