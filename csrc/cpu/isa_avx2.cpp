// The kernels compiled for AVX2 and FMA.
#if defined(__x86_64__)
#include <math.h>
#include <stdint.h>
#include <string.h>

// Nothing of the standard library may be included after this line: its inline functions would be
// compiled for this instruction set and could be shared with the rest of the program.
#pragma GCC target("avx2,fma,bmi,bmi2")

#define VAE_FAST_FMA  // the pragma leaves __FMA__ undefined
#define VAE_FAST_ISA avx2
#include "categorical_kernel.h"
#include "latent_kernel.h"
#include "likelihood_kernel.h"
#include "softmax_kernel.h"

namespace vae_fast {
namespace cpu {

extern const Kernels avx2_kernels;
const Kernels avx2_kernels = {"avx2",
                              avx2::nll,
                              avx2::softmax_shifts,
                              avx2::softmax_gradient,
                              avx2::kl,
                              avx2::sample,
                              avx2::sample_backward,
                              avx2::categorical,
                              avx2::categorical_backward};

}  // namespace cpu
}  // namespace vae_fast
#endif
