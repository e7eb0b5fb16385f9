#include "loss.h"

namespace vae_fast {

LossArguments::LossArguments(Stack& stack)
    : params(stack.take<std::vector<Tensor>>()),
      target(stack.take<Tensor>()),
      starts(stack.take<OptionalTensor>()),
      columns(stack.take<OptionalTensor>()),
      weight(stack.take<OptionalTensor>()),
      kl(stack.take<OptionalTensor>()),
      mu(stack.take<OptionalTensor>()),
      logvar(stack.take<OptionalTensor>()),
      beta_tensor(stack.take<OptionalTensor>()),
      beta(stack.take<double>()),
      likelihood(static_cast<Likelihood>(stack.take<int64_t>())),
      constants(stack.take<std::vector<double>>()),
      reduction(static_cast<Reduction>(stack.take<int64_t>())) {
  const size_t n = params.size();
  STD_TORCH_CHECK(n >= 1 && n <= most_parameters, "vae_fast: a likelihood has 1 to 5 parameters");
  STD_TORCH_CHECK(constants.size() <= most_constants, "vae_fast: too many constants");
}

// The first parameter has the whole shape; the shapes of the others say what they are shared by.
Binding LossInputs::binding_of(const Tensor& t, const LossArguments& args) const {
  const int64_t dim = t.dim(), whole = args.params[0].dim();
  if (dim == 0) return Binding::one;
  if (dim == target_dim - 1) return Binding::column;
  if (dim == target_dim && event_of(t) == 1 && (cols != 1 || whole != dim)) return Binding::sample;
  STD_TORCH_CHECK(dim == whole, "vae_fast: a parameter has an unexpected shape");
  return Binding::element;
}

namespace {

bool any_double(const LossArguments& args) {
  return is_double(args.params[0]) || (args.kl && is_double(*args.kl)) || (args.mu && is_double(*args.mu));
}

// A contiguous tensor of one dimension as one row.
Operand list_of(const Tensor& t) { return {t.data_ptr(), dtype_of(t), 0, 1}; }

}  // namespace

LossInputs::LossInputs(const LossArguments& args, const Tensor* elements_tensor)
    : target_dim(args.starts ? 2 : args.target.dim()),
      lead(args.params[0].dim() > target_dim ? 2 : 1),
      samples(lead == 2 ? args.params[0].size(0) : 1),
      batch(args.params[0].size(lead - 1)),
      cols(event_of(args.params[0], lead)),
      latents(args.mu ? event_of(*args.mu) : 0),
      layout(args.params[0], lead),
      latent_layout(args.mu ? *args.mu : args.target, 1),
      reduce(args.reduction),
      dtype(accumulate_type(any_double(args))),
      parameters(static_cast<int>(args.params.size())) {
  for (int k = 0; k < parameters; ++k) {
    const Tensor& t = args.params[static_cast<size_t>(k)];
    binding[k] = k ? binding_of(t, args) : Binding::element;
    if (binding[k] == Binding::element) layout.require(t, lead);
  }
  if (!args.starts) layout.require(args.target, 1);
  if (args.weight) layout.require(*args.weight, 1);
  if (elements_tensor) layout.require(*elements_tensor, lead);

  for (int k = 0; k < parameters; ++k) {
    const Tensor& t = args.params[static_cast<size_t>(k)];
    switch (binding[k]) {
      case Binding::element: params[k] = layout.rows(t, lead); break;
      case Binding::column: params[k] = layout.rows(t, 0); break;
      case Binding::sample: params[k] = per_row(t); break;
      case Binding::one: params[k] = one_element(t); break;
    }
  }
  if (args.starts) {
    target = list_of(args.target);
    starts = list_of(*args.starts);
    columns = list_of(*args.columns);
  } else {
    target = layout.rows(args.target, 1);
  }
  // Counts are numbers; images are numbers in [0, 1].
  if (target.dtype == DType::uint8 && !is_of_counts(args.likelihood)) target.dtype = DType::unit8;
  if (args.weight) weight = layout.rows(*args.weight, 1);
  if (elements_tensor) elements = layout.rows(*elements_tensor, lead);
  if (!args.mu) return;
  latent_layout.require(*args.logvar, 1);
  mu = latent_layout.rows(*args.mu, 1);
  logvar = latent_layout.rows(*args.logvar, 1);
}

double LossInputs::row_scale() const {
  const double rows = static_cast<double>(samples);
  switch (reduce) {
    case Reduction::none:
    case Reduction::draw: return 1.0;
    case Reduction::sample:
    case Reduction::sum: return 1.0 / rows;
    case Reduction::batchmean: return 1.0 / (rows * static_cast<double>(batch));
    case Reduction::mean: return 1.0 / (rows * static_cast<double>(batch) * static_cast<double>(cols));
  }
  return 1.0;
}

double LossInputs::kl_scale() const {
  return reduce == Reduction::batchmean ? 1.0 / static_cast<double>(batch) : 1.0;
}

Sizes LossInputs::result_sizes() const {
  if (reduce == Reduction::sample) return {batch};
  if (reduce == Reduction::draw) return lead == 2 ? Sizes{samples, batch} : Sizes{batch};
  return {};
}

LossGradients::LossGradients(const LossInputs& inputs, const LossArguments& args, int64_t wants) {
  const RowLayout &layout = inputs.layout, &latent = inputs.latent_layout;
  const Device device = device_of(args.params[0]);
  for (int k = 0; k < inputs.parameters; ++k) {
    if (!(wants >> k & 1)) continue;
    const Tensor& t = args.params[static_cast<size_t>(k)];
    const Binding binding = inputs.binding[k];
    if (binding == Binding::element || binding == Binding::column)
      list.push_back(
          layout.allocate(sizes_of(t), binding == Binding::element ? inputs.lead : 0, t.scalar_type()));
    else
      list.push_back(empty(sizes_of(t), t.scalar_type(), device));
  }
  const auto like = [&](const Tensor& t, const RowLayout& order) {
    list.push_back(order.allocate(sizes_of(t), 1, t.scalar_type()));
  };
  if (wants & want_kl) list.push_back(empty(sizes_of(*args.kl), args.kl->scalar_type(), device));
  if (wants & want_mu) like(*args.mu, latent);
  if (wants & want_logvar) like(*args.logvar, latent);
  view(inputs, wants);
}

LossGradients::LossGradients(const LossInputs& inputs, std::vector<Tensor> tensors, int64_t wants)
    : list(std::move(tensors)) {
  view(inputs, wants);
}

void LossGradients::view(const LossInputs& inputs, int64_t wants) {
  size_t next = 0;
  const auto take = [&](int64_t bit, Operand* operand, int64_t cols) {
    if (wants & bit) *operand = dense(list[next++], cols);
  };
  for (int k = 0; k < inputs.parameters; ++k)
    take(int64_t(1) << k, &params[k], inputs.binding[k] == Binding::element ? inputs.cols : 0);
  take(want_kl, &kl, 1);
  take(want_mu, &mu, inputs.latents);
  take(want_logvar, &logvar, inputs.latents);
}

}  // namespace vae_fast
