// Registration of the CPU kernels through PyTorch's stable ABI, and nothing else. The schemas are defined
// in vae_fast/ops, where operator tags are available in every supported PyTorch.
#include "boxing.h"
#include "cpu/kernels.h"
#include "cpu/operators.h"

namespace cpu = vae_fast::cpu;

STABLE_TORCH_LIBRARY_IMPL(vae_fast, CPU, m) {
  m.impl("reparameterize_kl", VAE_FAST_BOX(cpu::reparameterize_kl));
  m.impl("reparameterize_kl_raw", VAE_FAST_BOX(cpu::reparameterize_kl));
  m.impl("reparameterize_kl_backward", VAE_FAST_BOX(cpu::reparameterize_kl_backward));
  m.impl("gaussian_kl", VAE_FAST_BOX(cpu::gaussian_kl));
  m.impl("gaussian_kl_raw", VAE_FAST_BOX(cpu::gaussian_kl));
  m.impl("gaussian_kl_backward", VAE_FAST_BOX(cpu::gaussian_kl_backward));
  m.impl("gumbel_softmax_kl", VAE_FAST_BOX(cpu::gumbel_softmax_kl));
  m.impl("gumbel_softmax_kl_raw", VAE_FAST_BOX(cpu::gumbel_softmax_kl));
  m.impl("gumbel_softmax_kl_backward", VAE_FAST_BOX(cpu::gumbel_softmax_kl_backward));
  m.impl("elbo", VAE_FAST_BOX(cpu::elbo));
  m.impl("elbo_with_grad", VAE_FAST_BOX(cpu::elbo_with_grad));
  m.impl("elbo_backward", VAE_FAST_BOX(cpu::elbo_backward));
  m.impl("general_elbo", VAE_FAST_BOX(cpu::elbo));
  m.impl("general_elbo_with_grad", VAE_FAST_BOX(cpu::elbo_with_grad));
  m.impl("general_elbo_backward", VAE_FAST_BOX(cpu::elbo_backward));
}

// For `vae_fast.info`: the chosen instruction set, or why there is none.
extern "C" __attribute__((visibility("default"))) const char* vae_fast_isa_error() {
  return cpu::isa_error();
}
extern "C" __attribute__((visibility("default"))) const char* vae_fast_isa() {
  return *cpu::isa_error() ? "" : cpu::kernels().isa;
}
