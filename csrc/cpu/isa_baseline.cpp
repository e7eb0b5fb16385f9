// The kernels compiled for x86-64 without extensions, or whatever else the compiler targets.
#include <math.h>
#include <stdint.h>
#include <string.h>

#define VAE_FAST_ISA baseline
#include "categorical_kernel.h"
#include "latent_kernel.h"
#include "likelihood_kernel.h"
#include "softmax_kernel.h"

namespace vae_fast {
namespace cpu {

extern const Kernels baseline_kernels;
const Kernels baseline_kernels = {"baseline",
                                  baseline::nll,
                                  baseline::softmax_shifts,
                                  baseline::softmax_gradient,
                                  baseline::kl,
                                  baseline::sample,
                                  baseline::sample_backward,
                                  baseline::categorical,
                                  baseline::categorical_backward};

}  // namespace cpu
}  // namespace vae_fast
