// The loss of one call on any device: its tensors viewed for kernels, the scales of its terms, and its
// gradients allocated.
#pragma once

#include "boxing.h"
#include "tensors.h"

namespace vae_fast {

// The arguments of every loss operator, in the order of their schema (vae_fast/ops/likelihood.py).
struct LossArguments {
  explicit LossArguments(Stack& stack);

  std::vector<Tensor> params;  // of the likelihood; the first one has the whole shape
  Tensor target;
  // Of a sparse target, whose values `target` then has: where its rows start, and their columns (CSR).
  OptionalTensor starts, columns;
  OptionalTensor weight, kl, mu, logvar, beta_tensor;
  double beta;
  Likelihood likelihood;
  std::vector<double> constants;  // what is added to every element, then the likelihood's own
  Reduction reduction;
};

struct LossInputs {
  // `elements`: an incoming gradient of the parameters' shape, to be viewed like them.
  explicit LossInputs(const LossArguments& args, const Tensor* elements = nullptr);

  // Whether every row of the parameters has a result of its own.
  bool by_row() const { return reduce == Reduction::sample || reduce == Reduction::draw; }
  // Weight of one row of the reconstruction term in the loss.
  double row_scale() const;
  // Weight of one sample's KL, without beta.
  double kl_scale() const;
  // The shape of the loss and its parts.
  Sizes result_sizes() const;

  int64_t target_dim, lead, samples, batch, cols, latents;
  RowLayout layout, latent_layout;
  Reduction reduce;
  ScalarType dtype;  // of the results
  int parameters;
  Binding binding[most_parameters];
  Operand params[most_parameters];  // rows of a per-sample one are those of the target
  Operand target, starts, columns, weight, elements, mu, logvar;

 private:
  Binding binding_of(const Tensor& t, const LossArguments& args) const;
};

// The wanted gradients, in the order of their bits. Those of parameters have their parameter's shape.
struct LossGradients {
  LossGradients(const LossInputs& inputs, const LossArguments& args, int64_t wants);
  // The same views of tensors that were allocated so before.
  LossGradients(const LossInputs& inputs, std::vector<Tensor> tensors, int64_t wants);

  std::vector<Tensor> list;
  Operand params[most_parameters];
  Operand kl, mu, logvar;

 private:
  void view(const LossInputs& inputs, int64_t wants);
};

}  // namespace vae_fast
