// The contract between the operators (which know tensors) and the kernels (which know pointers): plain
// argument structs and, per instruction set, one table of functions. No torch header here.
#pragma once

#include "../operand.h"

namespace vae_fast {
namespace cpu {

// Work is cut into units, runs of at most `chunk` elements of one row, numbered row by row. The cut
// depends on the shape alone and every unit has its own partial sum, so that neither the number of
// threads nor their speed can change a bit of the result.
struct Split {
  int64_t rows, cols, chunk, per_row;

  static Split of(int64_t rows, int64_t cols) {
    constexpr int64_t longest = 1 << 14;
    const int64_t chunk = cols < 1 ? 1 : cols < longest ? cols : longest;
    return {rows, cols, chunk, cols < 1 ? 1 : (cols + chunk - 1) / chunk};
  }
  int64_t units() const { return rows * per_row; }
};

// Negative log-likelihood of [rows, cols] parameters; target and weight have `batch` rows and are read
// again for every Monte Carlo sample (row r belongs to target row r % batch).
struct NllArgs {
  Split split;
  int64_t batch;
  Likelihood likelihood;
  double constant;     // added to every element before weighting
  bool is_double;      // compute type: double for double parameters, else float
  bool shared_logvar;  // logvar holds one element
  Operand param, logvar, target, weight;

  double* value_sums;               // [units]; null: no values wanted
  double* logvar_sums;              // [units]; null: no shared-logvar gradient wanted
  Operand values;                   // per-element values; optional
  Operand grad_param, grad_logvar;  // optional
  double grad_scale;                // multiplies every gradient
  Operand grad_out;                 // further factor of the gradients, per row or per element; optional
};

// KL divergence of [rows, cols] diagonal Gaussians, to N(0, 1) where there is no prior.
struct KlArgs {
  Split split;
  bool is_double;
  Operand mu, logvar, prior_mu, prior_logvar;

  double* value_sums;
  Operand values;
  Operand grad_mu, grad_logvar, grad_prior_mu, grad_prior_logvar;
  double grad_scale;
  Operand grad_out;
};

// z = mu + exp(logvar / 2) noise for `samples` draws of [rows, cols], all operands dense.
struct SampleArgs {
  Split split;  // of the rows * samples rows of z
  int64_t batch;
  bool is_double;
  Operand mu, logvar;
  uint64_t seed;
  Operand eps;  // given noise, dense like z; else drawn from the seed
  Operand z;
  double* kl_sums;  // [units of the first `batch` rows]; optional
};

struct SampleBackwardArgs {
  Split split;  // of the batch rows
  int64_t samples;
  bool is_double;
  Operand mu, logvar;
  uint64_t seed;
  Operand eps;
  Operand grad_z;   // [samples, rows, cols]; optional
  Operand grad_kl;  // per row; optional
  Operand grad_mu, grad_logvar;
};

// Gumbel-softmax samples of `variables` of `categories` each, all operands dense, with the KL to the uniform
// distribution; and their gradient. A unit is a run of variables of one sample of the batch.
struct CategoricalArgs {
  int64_t batch, variables, categories;  // variables of a sample
  int64_t chunk, per_row;                // variables of a unit, units of a sample
  bool is_double;
  bool hard;
  double tau;
  uint64_t seed;
  Operand logits;

  Operand y;
  double* kl_sums;  // [batch * per_row]

  Operand grad_y;   // optional
  Operand grad_kl;  // per sample; optional
  Operand grad_logits;
};

// Each function does the units [begin, end).
struct Kernels {
  const char* isa;
  void (*nll)(const NllArgs&, int64_t begin, int64_t end);
  void (*kl)(const KlArgs&, int64_t begin, int64_t end);
  void (*sample)(const SampleArgs&, int64_t begin, int64_t end);
  void (*sample_backward)(const SampleBackwardArgs&, int64_t begin, int64_t end);
  void (*categorical)(const CategoricalArgs&, int64_t begin, int64_t end);
  void (*categorical_backward)(const CategoricalArgs&, int64_t begin, int64_t end);
};

// The table of the best instruction set of this machine, or of VAE_FAST_ISA.
const Kernels& kernels();

// Why there is none, empty if there is.
const char* isa_error();

}  // namespace cpu
}  // namespace vae_fast
