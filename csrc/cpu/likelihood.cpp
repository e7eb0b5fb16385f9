// Operators of the loss on CPU: negative log-likelihood, the ELBO around it, and their gradients. One
// pass over parameters and target gives the loss, its logged parts and, on demand, the gradients.
#include <algorithm>

#include "../loss.h"
#include "host.h"
#include "operators.h"

namespace vae_fast {
namespace cpu {

namespace {

// The inputs of one call, and what the kernels are told about them.
struct Call : LossInputs {
  explicit Call(const LossArguments& args, const Tensor* elements_tensor = nullptr)
      : LossInputs(args, elements_tensor),
        beta(args.beta_tensor ? args.beta * scalar_of(*args.beta_tensor) : args.beta),
        of_shares(ends_with_size(args.likelihood, parameters)) {
    const bool shares_columns =
        std::find(binding, binding + parameters, Binding::column) != binding + parameters;
    nll.split = shares_columns ? Split::of_groups(samples * batch, cols) : Split::of(samples * batch, cols);
    nll.batch = batch;
    nll.likelihood = args.likelihood;
    std::copy(args.constants.begin(), args.constants.end(), nll.constants);
    nll.is_double = is_double(args.params[0]);
    nll.parameters = of_shares ? parameters - 1 : parameters;
    std::copy(binding, binding + nll.parameters, nll.binding);
    std::copy(params, params + nll.parameters, nll.param);
    nll.target = target;
    nll.starts = starts;
    nll.columns = columns;
    nll.weight = weight;
    nll.grad_out = elements;
    latent.split = Split::of(args.mu ? batch : 0, latents);
    latent.is_double = args.mu && is_double(*args.mu);
    latent.mu = mu;
    latent.logvar = logvar;
    if (!of_shares) return;
    shares.rows = samples * batch;
    shares.cols = cols;
    shares.batch = batch;
    shares.is_double = nll.is_double;
    shares.logits = params[0];
    shares.log_sizes = params[parameters - 1];
    of_rows_.emplace(2 * shares.rows);
    shares.log_sums = of_rows_->data();
    shares.shifts = shares.log_sums + shares.rows;
    nll.shifts = shares.shifts;
  }

  void run() const {
    const Kernels& table = kernels();
    const int64_t units = nll.split.units(), latent_units = latent.split.units();
    if (!units) return;
    const auto of_rows = [&](void (*kernel)(const SoftmaxArgs&, int64_t, int64_t)) {
      parallel(shares.rows, cols, [&](int64_t begin, int64_t end) { kernel(shares, begin, end); });
    };
    if (of_shares) of_rows(table.softmax_shifts);
    // One parallel region for both terms: a thread takes the same share of each.
    parallel(units, nll.split.chunk * nll.split.group, [&](int64_t begin, int64_t end) {
      table.nll(nll, begin, end);
      if (latent_units) table.kl(latent, begin * latent_units / units, end * latent_units / units);
    });
    if (shares.grad_logits.data) of_rows(table.softmax_gradient);
  }

  double beta;
  bool of_shares;  // means that are shares of a size, the last parameter
  NllArgs nll;
  SoftmaxArgs shares{};
  KlArgs latent{};

 private:
  std::optional<Workspace> of_rows_;
};

// Points the kernels' arguments at the wanted gradients.
class Gradients : public LossGradients {
 public:
  Gradients(Call& call, const LossArguments& args, int64_t wants)
      : LossGradients(call, args, wants), call_(call) {
    NllArgs& nll = call.nll;
    const Split& split = nll.split;
    for (int k = 0; k < nll.parameters; ++k) {
      if (!params[k].data) continue;
      if (call.binding[k] == Binding::element) {
        nll.grad[k] = params[k];
      } else if (call.binding[k] == Binding::column) {
        const ScalarType type = nll.is_double ? ScalarType::Double : ScalarType::Float;
        columns_[k] = empty({split.groups(), split.cols}, type);
        nll.grad_columns[k] = dense(*columns_[k], split.cols);
      } else {
        sums_[k].emplace(split.sums());
        nll.grad_sums[k] = sums_[k]->data();
      }
    }
    if (call.of_shares && (params[0].data || params[nll.parameters].data)) share();
    call.latent.grad_mu = mu;
    call.latent.grad_logvar = logvar;
  }

  // After the kernels: what is summed over rows, and the gradient of a given KL.
  void finish(double grad, const Tensor* grad_rows) {
    for (int k = 0; k < call_.nll.parameters; ++k) {
      if (columns_[k]) finish_columns(k);
      if (sums_[k] && k) finish_sums(k, sums_[k]->data());
    }
    if (const int size = call_.nll.parameters; call_.of_shares && params[size].data)
      finish_sums(size, sums_[0]->data());
    if (!kl.data) return;
    const Elements out(kl);
    const double scale = call_.beta * call_.kl_scale();
    for (int64_t b = 0; b < call_.batch; ++b)
      out.set(b, scale * (grad_rows ? Elements(*grad_rows).get(b) : grad));
  }

 private:
  // Of logits and sizes by way of the log-means, which have the sums of their rows' gradients as well.
  void share() {
    NllArgs& nll = call_.nll;
    SoftmaxArgs& shares = call_.shares;
    sums_[0].emplace(nll.split.sums());
    shares.grad_sums = nll.grad_sums[0] = sums_[0]->data();
    shares.per_row = nll.split.per_row;
    if (!params[0].data) return;
    shares.grad_logits = shares.grad_means = params[0];
    const ScalarType type = nll.is_double ? ScalarType::Double : ScalarType::Float;
    if (params[0].dtype == (nll.is_double ? DType::float64 : DType::float32)) return;
    wide_ = empty({shares.rows, shares.cols}, type);  // rounded once, in the end
    nll.grad[0] = shares.grad_means = dense(*wide_, shares.cols);
  }

  void finish_columns(int k) {
    const Split& split = call_.nll.split;
    const Operand& partial = call_.nll.grad_columns[k];
    const Elements out(Operand{params[k].data, params[k].dtype, 1, 0});
    parallel(split.cols, split.groups(), [&](int64_t begin, int64_t end) {
      if (call_.nll.is_double)
        add_groups(static_cast<const double*>(partial.data), split, begin, end, out);
      else
        add_groups(static_cast<const float*>(partial.data), split, begin, end, out);
    });
  }

  template <class T>
  static void add_groups(const T* partial, const Split& split, int64_t begin, int64_t end,
                         const Elements& out) {
    constexpr int64_t most = 256;
    double total[most];
    for (int64_t first = begin; first < end; first += most) {
      const int64_t n = std::min(most, end - first);
      std::fill(total, total + n, 0.0);
      for (int64_t group = 0; group < split.groups(); ++group)
        for (int64_t i = 0; i < n; ++i)
          total[i] += static_cast<double>(partial[group * split.cols + first + i]);
      for (int64_t i = 0; i < n; ++i) out.set(first + i, total[i]);
    }
  }

  void finish_sums(int k, const double* sums) {
    const int64_t per_row = call_.nll.split.per_row;
    const bool one = call_.binding[k] == Binding::one;
    const int64_t results = one ? 1 : call_.batch, each = one ? call_.batch * per_row : per_row;
    const Elements out(Operand{params[k].data, params[k].dtype, 1, 0});
    for (int64_t r = 0; r < results; ++r) {
      double total = 0;
      for (int64_t s = 0; s < call_.samples; ++s)
        for (int64_t i = 0; i < each; ++i) total += sums[s * call_.batch * per_row + r * each + i];
      out.set(r, total);
    }
  }

  Call& call_;
  OptionalTensor columns_[most_parameters], wide_;
  std::optional<Workspace> sums_[most_parameters];
};

double sum_of(const double* partial, int64_t n) {
  double total = 0;
  for (int64_t i = 0; i < n; ++i) total += partial[i];
  return total;
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor, std::vector<Tensor>> elbo_with_grad(LossArguments args, int64_t wants) {
  Call call(args);
  Gradients gradients(call, args, wants);
  call.nll.grad_scale = call.row_scale();
  call.latent.grad_scale = call.beta * call.kl_scale();

  if (call.reduce == Reduction::none) {
    Tensor values = call.layout.allocate(sizes_of(args.params[0]), call.lead, call.dtype);
    call.nll.values = dense(values, call.cols);
    call.run();
    return {values, empty({0}, call.dtype), empty({0}, call.dtype), {}};
  }

  const int64_t per_row = call.nll.split.per_row, latent_per_row = call.latent.split.per_row;
  const Workspace sums(call.nll.split.sums() + call.latent.split.sums());
  const double *nll_sums = sums.data(), *kl_sums = nll_sums + call.nll.split.sums();
  call.nll.value_sums = sums.data();
  call.latent.value_sums = sums.data() + call.nll.split.sums();
  call.run();
  gradients.finish(1.0, nullptr);

  const bool with_kl = args.kl || args.mu;
  const Sizes shape = call.result_sizes();
  Tensor loss = empty(shape, call.dtype);
  Tensor recon_out = empty(with_kl ? shape : Sizes{0}, call.dtype);
  Tensor kl_out = empty(with_kl ? shape : Sizes{0}, call.dtype);
  const Elements losses(dense(loss, 1)), recons(dense(recon_out, 1)), kls(dense(kl_out, 1));
  const Elements given(args.kl ? *args.kl : recon_out);
  const auto write = [&](int64_t i, double recon, double kl) {
    losses.set(i, with_kl ? recon + call.beta * kl : recon);
    if (!with_kl) return;
    recons.set(i, recon);
    kls.set(i, kl);
  };
  // A draw has its own results, else a sample's are those of all its draws.
  const int64_t draws = call.reduce == Reduction::draw ? call.samples : 1, averaged = call.samples / draws;
  double recon_total = 0, kl_total = 0;
  for (int64_t draw = 0; draw < draws; ++draw) {
    for (int64_t b = 0; b < call.batch; ++b) {
      double recon_row = 0, kl_row = 0;
      for (int64_t s = 0; s < averaged; ++s)
        recon_row += sum_of(nll_sums + ((draw + s) * call.batch + b) * per_row, per_row);
      if (args.kl) kl_row = given.get(b);
      if (args.mu) kl_row += sum_of(kl_sums + b * latent_per_row, latent_per_row);
      if (call.by_row()) write(draw * call.batch + b, recon_row * call.row_scale(), kl_row);
      recon_total += recon_row;
      kl_total += kl_row;
    }
  }
  if (!call.by_row()) {
    recon_total *= call.row_scale();
    // 0 / 0 for an empty batch, as in every PyTorch mean.
    if (!call.batch && call.reduce != Reduction::sum) recon_total = 0.0 * call.row_scale();
    write(0, recon_total, kl_total * call.kl_scale());
  }
  return {loss, recon_out, kl_out, gradients.list};
}

std::tuple<Tensor, Tensor, Tensor> elbo(LossArguments args) {
  auto [loss, recon_out, kl_out, none] = elbo_with_grad(std::move(args), 0);
  return {loss, recon_out, kl_out};
}

std::vector<Tensor> elbo_backward(Tensor grad, LossArguments args, int64_t wants) {
  const bool elements = args.reduction == Reduction::none;
  Call call(args, elements ? &grad : nullptr);
  Gradients gradients(call, args, wants);
  const bool by_row = call.by_row();
  const double scale = elements || by_row ? 1.0 : scalar_of(grad);
  call.nll.grad_scale = call.row_scale() * scale;
  call.latent.grad_scale = call.beta * call.kl_scale() * scale;
  Tensor rows = grad;
  if (by_row) {
    const int64_t n = call.samples * call.batch;
    if (call.reduce == Reduction::draw) {
      rows = torch::stable::reshape(grad, {n});
    } else if (call.samples > 1) {  // every Monte Carlo sample of an image shares its incoming gradient
      rows = empty({n}, grad.scalar_type());
      const Elements repeated(rows), given(grad);
      for (int64_t r = 0; r < n; ++r) repeated.set(r, given.get(r % call.batch));
    }
    call.nll.grad_out = per_row(rows);
    call.latent.grad_out = per_row(grad);
  }
  call.run();
  gradients.finish(scale, by_row ? &grad : nullptr);
  return gradients.list;
}

}  // namespace cpu
}  // namespace vae_fast
