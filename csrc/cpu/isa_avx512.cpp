// The kernels compiled for AVX-512 F, BW, DQ, VL.
#if defined(__x86_64__)
#include <math.h>
#include <stdint.h>
#include <string.h>

// Nothing of the standard library may be included after this line: its inline functions would be
// compiled for this instruction set and could be shared with the rest of the program.
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi,bmi2")

#define VAE_FAST_FMA  // the pragma leaves __FMA__ undefined
#define VAE_FAST_ISA avx512
#include "categorical_kernel.h"
#include "latent_kernel.h"
#include "likelihood_kernel.h"
#include "softmax_kernel.h"

namespace vae_fast {
namespace cpu {

extern const Kernels avx512_kernels;
const Kernels avx512_kernels = {"avx512",
                                avx512::nll,
                                avx512::softmax_shifts,
                                avx512::softmax_gradient,
                                avx512::kl,
                                avx512::sample,
                                avx512::sample_backward,
                                avx512::categorical,
                                avx512::categorical_backward};

}  // namespace cpu
}  // namespace vae_fast
#endif
