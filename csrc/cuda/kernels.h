// The contract between the CUDA operators (which know tensors) and the kernels (which know pointers):
// argument structs, and functions that launch on a stream and return an error text or null. Neither
// torch nor CUDA headers here. Every pointer is to device memory, scalars of tensors included: nothing
// waits for the device.
#pragma once

#include "../operand.h"

namespace vae_fast {
namespace cuda {

constexpr int block_threads = 256;

// How rows are shared out; a function of shapes, dtypes and the number of resident blocks alone, so that
// every run adds in the same order. `lanes` neighbouring threads (at most a warp, or the whole block)
// work together on a tile, `tiles` of which cover a row; `splits` groups share the tiles of one result,
// `span` neighbouring ones each.
struct Plan {
  int lanes = block_threads;
  int elements = 1;  // of a tile, of each lane
  int64_t tiles = 0;
  int64_t splits = 1;
  int64_t span = 0;
  int64_t blocks = 1;
};

// Sums that several blocks share: each writes its partial sums, and the last to take a ticket adds them
// up in order. Tickets are zero before and after a launch. They are those of a stream, which live in the
// module, or given ones.
struct Shared {
  double* partial = nullptr;
  int slot = 0;
  unsigned* tickets = nullptr;
};

constexpr int ticket_slots = 32;    // streams that have tickets of their own
constexpr int most_tickets = 1024;  // more than any plan asks for (plan.h, by_row)

// Negative log-likelihood of parameters [rows, cols] against target and weight [target_rows, cols] (row r
// belongs to target row r modulo their number), and the KL of q [batch, latents] to N(0, 1), in one launch.
// Where memory allows, rows are the whole batch in one row.
struct ElboArgs {
  Plan plan;
  Shared shared;
  bool in_packets;  // operands allow 16-byte accesses (see packets.h)
  int64_t rows, target_rows, cols;
  int64_t batch, latents;
  Likelihood likelihood;
  int parameters;
  double constants[most_constants];  // [0] is added to every element before weighting
  Binding binding[most_parameters];
  Operand param[most_parameters];
  Operand target, weight;      // a bool weight is a mask
  Operand grad_out;            // factor of the gradients, per element or per row
  bool grad_out_of_target;     // its rows are those of the target
  Operand grad;                // factor of the gradients, one element
  bool unless_one;             // nothing is done where `grad` is 1: the gradients are right already
  bool with_value, with_grad;  // of the reconstruction
  Operand values;
  Operand grad_param[most_parameters];  // of parameters of elements
  Operand grad_one;                     // of the last parameter, where it is one for all

  Operand kl;                 // given KL, [batch] as rows, or else
  Operand mu, latent_logvar;  // parameters of q
  Operand grad_kl, grad_mu, grad_latent_logvar;

  double recon_scale, kl_scale, beta;
  Operand beta_factor;  // one element
  // One result for each of `results` rows, of `draws` rows of parameters each; else one in all.
  bool per_row;
  int64_t results, draws;
  // float64 or float32; with `values` or without any sum to take: none.
  Operand loss, recon_out, kl_out;
};

// The gradient of parameter `which`, which columns, samples or all elements share: a sum over the elements of
// `args`, whose plan it does not use.
struct SharedGradientArgs {
  ElboArgs elbo;
  int which;
  int64_t group, groups;  // rows that a block sums, and how many such there are
  Shared shared;          // of [groups, cols] sums, a ticket for each run of columns of a block
  Operand result;
};

// z = mu + exp(logvar / 2) noise for `samples` draws of [batch, cols]; eps and z are dense.
struct SampleArgs {
  Plan plan;
  Shared shared;
  bool in_packets;
  int64_t samples, batch, cols;
  int64_t draw_groups;  // groups that share the draws of a row
  Operand mu, logvar, eps;
  const int64_t* seed;
  Operand z;
  Operand kl;  // [batch], optional
};

struct SampleBackwardArgs {
  Plan plan;
  bool in_packets;
  int64_t samples, batch, cols;
  Operand mu, logvar, eps;
  const int64_t* seed;
  Operand grad_z, grad_kl;  // optional
  Operand grad_mu, grad_logvar;
};

// KL of [batch, cols] diagonal Gaussians, to N(0, 1) where there is no prior.
struct KlArgs {
  Plan plan;
  Shared shared;
  bool in_packets, with_prior, with_grad;  // values, or gradients
  int64_t batch, cols;
  Operand mu, logvar, prior_mu, prior_logvar;
  Operand grad_out, grad;
  Operand values, grad_mu, grad_logvar, grad_prior_mu, grad_prior_logvar;
  double scale;
  bool per_row;
  Operand result;
};

// Gumbel-softmax samples of [batch, variables] of `categories` each, all dense, with the KL to the uniform
// distribution; and their gradient. `lanes` threads share a variable, `tiles` times over its categories.
struct CategoricalArgs {
  Plan plan;  // lanes: of a team, which shares the variables of a sample, `rounds` times over
  Shared shared;
  bool in_packets, hard;
  int lanes, tiles;
  int64_t rounds;
  int64_t batch, variables, categories;
  const int64_t* seed;
  double tau;
  Operand tau_tensor;  // one element, instead of tau
  Operand logits;
  Operand y, kl;
  Operand grad_y, grad_kl;  // optional
  Operand grad_logits;
};

// Each launches one kernel, chosen by the dtype of the first parameter; returns an error text or null.
const char* elbo(const ElboArgs& args, void* stream);
const char* shared_gradient(const SharedGradientArgs& args, void* stream);
const char* sample(const SampleArgs& args, void* stream);
const char* sample_backward(const SampleBackwardArgs& args, void* stream);
const char* kl(const KlArgs& args, void* stream);
const char* categorical(const CategoricalArgs& args, void* stream);
const char* categorical_backward(const CategoricalArgs& args, void* stream);

}  // namespace cuda
}  // namespace vae_fast
