// The contract between the operators (which know tensors) and the kernels (which know pointers): plain
// argument structs and, per instruction set, one table of functions. No torch header here.
#pragma once

#include "../operand.h"

namespace vae_fast {
namespace cpu {

// Work is cut into units, runs of at most `chunk` elements of one row, numbered row by row; or, where rows
// share parameters of their columns, of as many rows as a group has. The cut depends on the shape alone and
// every row of a unit has its own partial sum, so that neither the number of threads nor their speed can
// change a bit of the result.
struct Split {
  int64_t rows, cols, chunk, per_row, group = 1;

  static Split of(int64_t rows, int64_t cols) { return {rows, cols, 1 << 14}; }
  static Split of_groups(int64_t rows, int64_t cols) { return {rows, cols, 1 << 12, 32}; }

  int64_t groups() const { return (rows + group - 1) / group; }
  int64_t units() const { return groups() * per_row; }
  int64_t sums() const { return rows * per_row; }

 private:
  Split(int64_t rows_, int64_t cols_, int64_t longest, int64_t group_ = 1)
      : rows(rows_),
        cols(cols_),
        chunk(cols_ < 1         ? 1
              : cols_ < longest ? cols_
                                : longest),
        per_row(cols_ < 1 ? 1 : (cols_ + chunk - 1) / chunk),
        group(group_) {}
};

// Negative log-likelihood of [rows, cols] parameters; target, weight and parameters of samples have `batch`
// rows and are read again for every Monte Carlo sample (row r belongs to target row r % batch).
struct NllArgs {
  Split split = Split::of(0, 0);
  int64_t batch = 0;
  Likelihood likelihood = Likelihood::bernoulli;
  double constants[most_constants] = {};  // [0] is added to every element before weighting
  bool is_double = false;                 // compute type: double for double parameters, else float
  int parameters = 0;
  Binding binding[most_parameters] = {};
  Operand param[most_parameters];
  Operand target, weight;  // a bool weight is a mask
  // Of a sparse target, whose values `target` then has: where its rows start, and their columns, ascending.
  Operand starts, columns;
  const double* shifts = nullptr;  // added to the first parameter, per row; optional

  double* value_sums = nullptr;  // [rows, per_row]; null: no values wanted
  Operand values;                // per-element values; optional
  // Gradients of parameters, each optional: of elements, of columns as sums of groups [groups, cols] in the
  // compute type, of samples or one for all as sums [rows, per_row].
  Operand grad[most_parameters], grad_columns[most_parameters];
  double* grad_sums[most_parameters] = {};
  double grad_scale = 1;  // multiplies every gradient
  Operand grad_out;       // further factor of the gradients, per row or per element; optional
};

// Means of [rows, cols] that are shares of a size, size * softmax(logits). `log_sizes` has `batch` rows.
struct SoftmaxArgs {
  int64_t rows = 0, cols = 0, batch = 0;
  bool is_double = false;
  Operand logits, log_sizes;
  double *log_sums = nullptr, *shifts = nullptr;  // of each row: of exponentials; log-mean less logit

  // The gradients of log-means, their sums [rows, per_row], and the logits', which may lie where they do.
  const double* grad_sums = nullptr;
  int64_t per_row = 0;
  Operand grad_means, grad_logits;
};

// KL divergence of [rows, cols] diagonal Gaussians, to N(0, 1) where there is no prior.
struct KlArgs {
  Split split = Split::of(0, 0);
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
  Split split = Split::of(0, 0);  // of the rows * samples rows of z
  int64_t batch;
  bool is_double;
  Operand mu, logvar;
  uint64_t seed;
  Operand eps;  // given noise, dense like z; else drawn from the seed
  Operand z;
  double* kl_sums;  // [units of the first `batch` rows]; optional
};

struct SampleBackwardArgs {
  Split split = Split::of(0, 0);  // of the batch rows
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
  void (*softmax_shifts)(const SoftmaxArgs&, int64_t begin, int64_t end);  // of rows, as the next one
  void (*softmax_gradient)(const SoftmaxArgs&, int64_t begin, int64_t end);
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
