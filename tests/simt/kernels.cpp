// Runs the kernels of csrc/cuda without PyTorch, for the sanitizers: every buffer is exactly as large as
// needed and at the wanted offset, outputs are poisoned, and results are compared with float64.
//   kernels SEED [few]     `few`: a selection of sizes, for ThreadSanitizer
#include "../../csrc/math/gumbel.h"
#include "buffers.h"

using namespace vae_fast;
using namespace vae_fast::cuda;

namespace {

struct Term {
  double value, dparam, dlast, magnitude;
};

Term term(Likelihood likelihood, bool pair, double x, double v, double t) {
  switch (likelihood) {
    case Likelihood::bernoulli: {
      const double e = exp(-fabs(x)), positive = x > 0;
      return {log1p(e) + (positive - t) * x, (x > 0 ? 1 / (1 + e) : e / (1 + e)) - t, 0,
              log1p(e) + fabs(x) + fabs(t * x)};
    }
    case Likelihood::gaussian: {
      const double precision = pair ? exp(-v) : 1, d = x - t, squares = d * d * precision;
      return {0.5 * (squares + (pair ? v : 0)), d * precision, 0.5 * (1 - squares),
              squares * (1 + fabs(v)) + fabs(v) + fabs(t) + fabs(d) * precision};
    }
    case Likelihood::laplace: {
      const double inverse = pair ? exp(-v) : 1, d = x - t, size = fabs(d) * inverse;
      const double sign = d > 0 ? 1 : d < 0 ? -1 : 0;
      return {size + (pair ? v : 0), sign * inverse, 1 - size,
              size * (1 + fabs(v)) + fabs(v) + fabs(t) * inverse + inverse};
    }
    default: {
      const double rate = exp(x), gamma = lgamma(t + 1);
      return {rate - t * x + gamma, rate - t, 0, rate * (1 + fabs(x)) + t + fabs(t * x) + gamma};
    }
  }
}

struct Shape {
  int64_t samples, rows, cols, latents;
};

// How the second parameter is shared; `absent` where there is none.
enum class Form { absent, one, element, column, sample };

// A loss with everything: value, gradients of all inputs, the KL of a latent.
void check_elbo(const Shape& s, DType dtype, DType target_dtype, Likelihood likelihood, Form form, int offset,
                bool alike, bool weighted, bool per_row) {
  const bool pair = form != Form::absent, element = form == Form::element, one = form == Form::one;
  const bool summed = form == Form::column || form == Form::sample;
  const int64_t n = s.samples * s.rows * s.cols, m = s.rows * s.cols;
  const int64_t shared = form == Form::column ? s.cols : form == Form::sample ? s.rows : 1;
  const int other = alike ? offset : 0;
  Buffer x(dtype, n, offset), t(target_dtype, m, other), v(dtype, element ? n : shared, other);
  Buffer w(DType::float32, m, other), mu(dtype, s.rows * s.latents, 0), lv(dtype, s.rows * s.latents, 0);
  x.fill(), t.fill(), v.fill(), w.fill(), mu.fill(), lv.fill();
  if (likelihood == Likelihood::laplace)  // on which side of the kink is else a matter of rounding
    for (int64_t i = 0; i < n; ++i)
      if (fabs(x.get(i) - t.get(i % m)) < 1e-6) x.set(i, 100);
  const DType wide = dtype == DType::float64 ? DType::float64 : DType::float32;
  const int64_t results = per_row ? s.rows : 1;
  Buffer loss(wide, results, 0), recon(wide, results, 0), kl(wide, results, 0);
  Buffer dx(dtype, n, other), dv(dtype, v.count(), other);
  Buffer dmu(dtype, mu.count(), 0), dlv(dtype, lv.count(), 0);
  const double constant = 0.25, beta = 0.5, scale = 1.0 / static_cast<double>(s.samples);

  ElboArgs a{};
  a.rows = s.samples * s.rows;
  a.target_rows = a.batch = s.rows;
  a.cols = s.cols;
  a.latents = s.latents;
  a.likelihood = likelihood;
  a.parameters = pair ? 2 : 1;
  a.constants[0] = constant;
  a.constants[1] = 1;  // Poisson in full
  a.param[0] = x.matrix(s.cols);
  a.target = t.matrix(s.cols);
  a.binding[1] = one                    ? Binding::one
                 : element              ? Binding::element
                 : form == Form::column ? Binding::column
                                        : Binding::sample;
  if (pair)
    a.param[1] = element                ? v.matrix(s.cols)
                 : form == Form::column ? v.matrix(0)
                 : form == Form::sample ? v.per_row()
                                        : v.one();
  if (weighted) a.weight = w.matrix(s.cols);
  a.mu = mu.matrix(s.latents);
  a.latent_logvar = lv.matrix(s.latents);
  a.recon_scale = scale;
  a.kl_scale = 1;
  a.beta = beta;
  a.per_row = per_row;
  a.results = s.rows;
  a.draws = s.samples;
  a.with_value = true;
  const auto view = [&](const Buffer& b) { return per_row ? b.per_row() : b.one(); };
  a.loss = view(loss);
  a.recon_out = view(recon);
  a.kl_out = view(kl);
  if (!per_row) {
    a.with_grad = true;
    a.grad_param[0] = dx.matrix(s.cols);
    if (element) a.grad_param[1] = dv.matrix(s.cols);
    if (one) a.grad_one = dv.one();
    a.grad_mu = dmu.matrix(s.latents);
    a.grad_latent_logvar = dlv.matrix(s.latents);
  }
  const bool may_be_pair = likelihood == Likelihood::gaussian || likelihood == Likelihood::laplace;
  const int packet = nll_packet_of(dtype, may_be_pair ? 2 : 1);
  a.plan = per_row ? by_row(s.rows, s.samples, s.cols, packet, 3)
                   : pooled(s.samples * s.rows, s.cols, packet, 3, s.rows * s.latents);
  a.in_packets = dtype != DType::float64 && !weighted && alike && !summed &&
                 (s.samples == 1 || m % packet == 0) &&
                 (size_of(target_dtype) == 1 || target_dtype == dtype || target_dtype == DType::float32);
  if (a.in_packets && !PacketCheck(packet, a.param[0]).allow(a.target, target_dtype).ok())
    a.in_packets = false;
  Workspace work((per_row ? s.rows * a.plan.splits : a.plan.blocks) * 3, per_row ? s.rows : 1);
  a.shared = work.shared();
  launched(elbo(a, nullptr));

  SharedGradientArgs g{};
  g.elbo = a;
  g.which = 1;
  g.group = 32;
  g.groups = ceil_div(a.rows, g.group);
  const int64_t runs = ceil_div(s.cols, block_threads);
  Workspace groups(g.groups * s.cols, runs);
  g.shared = groups.shared();
  g.result = dv.per_row();
  g.elbo.plan.blocks = form == Form::column ? runs * g.groups : s.rows;
  if (summed && !per_row && g.elbo.plan.blocks) launched(shared_gradient(g, nullptr));

  const std::string what = "elbo " + std::to_string(s.samples) + "x" + std::to_string(s.rows) + "x" +
                           std::to_string(s.cols) + " dtype " + std::to_string(static_cast<int>(dtype)) +
                           " target " + std::to_string(static_cast<int>(target_dtype)) + " likelihood " +
                           std::to_string(static_cast<int>(likelihood)) + " form " +
                           std::to_string(static_cast<int>(form)) + " offset " + std::to_string(offset);
  double total = 0, size = 0, kl_total = 0, kl_size = 0;
  std::vector<double> by_shared(static_cast<size_t>(shared)), shared_size(static_cast<size_t>(shared));
  for (int64_t b = 0; b < s.rows; ++b) {
    double row = 0, row_size = 0, kl_row = 0, kl_row_size = 0;
    for (int64_t k = 0; k < s.samples; ++k) {
      for (int64_t c = 0; c < s.cols; ++c) {
        const int64_t i = (k * s.rows + b) * s.cols + c, j = b * s.cols + c;
        const int64_t at = form == Form::column ? c : form == Form::sample ? b : 0;
        const Term e = term(likelihood, pair, x.get(i), pair ? v.get(element ? i : at) : 0, t.get(j));
        const double weight = weighted ? w.get(j) : 1;
        row += (e.value + constant) * weight;
        row_size += (e.magnitude + constant) * fabs(weight);
        by_shared[static_cast<size_t>(at)] += e.dlast * weight * scale;
        shared_size[static_cast<size_t>(at)] += (1 + e.magnitude) * fabs(weight) * scale;
        if (per_row) continue;
        expect(what + " dx", dx, i, e.dparam * weight * scale, fabs(weight) * (1 + e.magnitude) * scale);
        if (element)
          expect(what + " dv", dv, i, e.dlast * weight * scale, fabs(weight) * (1 + e.magnitude) * scale);
      }
    }
    for (int64_t c = 0; c < s.latents; ++c) {
      const int64_t i = b * s.latents + c;
      const double d = lv.get(i), value = 0.5 * (mu.get(i) * mu.get(i) + expm1(d) - d);
      kl_row += value;
      kl_row_size += value + fabs(d);
      if (per_row) continue;
      expect(what + " dmu", dmu, i, beta * mu.get(i), 0);
      expect(what + " dlv", dlv, i, beta * 0.5 * expm1(d), fabs(d));
    }
    if (per_row) {
      expect(what + " loss", loss, b, row * scale + beta * kl_row, row_size * scale + kl_row_size);
      expect(what + " recon", recon, b, row * scale, row_size * scale);
      expect(what + " kl", kl, b, kl_row, kl_row_size);
    }
    total += row, size += row_size, kl_total += kl_row, kl_size += kl_row_size;
  }
  if (per_row) return;
  expect(what + " loss", loss, 0, total * scale + beta * kl_total, size * scale + kl_size);
  expect(what + " recon", recon, 0, total * scale, size * scale);
  expect(what + " kl", kl, 0, kl_total, kl_size);
  if (one || (summed && a.rows))
    for (int64_t i = 0; i < shared; ++i)
      expect(what + " dv", dv, i, by_shared[static_cast<size_t>(i)], shared_size[static_cast<size_t>(i)]);
}

double noise_of(uint64_t seed, int64_t element) {
  const portable::Normal4 four = portable::normal4(seed, static_cast<uint64_t>(element) >> 2, 0);
  const float lanes[] = {four.lane0, four.lane1, four.lane2, four.lane3};
  return lanes[element & 3];
}

// Sampling with its KL, and the backward of both.
void check_sample(const Shape& s, DType dtype, int offset) {
  const int64_t m = s.rows * s.cols, n = s.samples * m;
  Buffer mu(dtype, m, offset), lv(dtype, m, offset), z(dtype, n, 0), dz(dtype, n, 0), dmu(dtype, m, 0);
  Buffer dlv(dtype, m, 0), dkl(DType::float32, s.rows, 0);
  Buffer kl(dtype == DType::float64 ? DType::float64 : DType::float32, s.rows, 0);
  mu.fill(), lv.fill(), dz.fill(), dkl.fill();
  const int64_t seed = static_cast<int64_t>(generator());

  SampleArgs a{};
  a.samples = s.samples;
  a.batch = s.rows;
  a.cols = s.cols;
  a.mu = mu.matrix(s.cols);
  a.logvar = lv.matrix(s.cols);
  a.seed = &seed;
  a.z = z.matrix(s.cols);
  a.kl = kl.per_row();
  a.plan = by_row(s.rows, 1, s.cols, noise_packet, 3);
  a.draw_groups = draw_groups_of(a.plan, s.rows, s.samples);
  a.in_packets = dtype != DType::float64 && offset == 0 && (s.samples == 1 || m % noise_packet == 0);
  Workspace work(s.rows * a.plan.splits, s.rows);
  a.shared = work.shared();
  launched(sample(a, nullptr));

  SampleBackwardArgs g{};
  g.samples = s.samples;
  g.batch = s.rows;
  g.cols = s.cols;
  g.mu = a.mu;
  g.logvar = a.logvar;
  g.seed = &seed;
  g.grad_z = dz.matrix(s.cols);
  g.grad_kl = dkl.per_row();
  g.grad_mu = dmu.matrix(s.cols);
  g.grad_logvar = dlv.matrix(s.cols);
  g.plan = pooled(s.rows, s.cols, noise_packet, 3);
  g.in_packets = a.in_packets;
  launched(sample_backward(g, nullptr));

  const std::string what = "sample " + std::to_string(s.samples) + "x" + std::to_string(s.rows) + "x" +
                           std::to_string(s.cols) + " dtype " + std::to_string(static_cast<int>(dtype)) +
                           " offset " + std::to_string(offset);
  for (int64_t b = 0; b < s.rows; ++b) {
    double sum = 0, size = 0;
    for (int64_t c = 0; c < s.cols; ++c) {
      const int64_t i = b * s.cols + c;
      const double m0 = mu.get(i), v = lv.get(i), deviation = exp(0.5 * v);
      sum += 0.5 * (m0 * m0 + expm1(v) - v);
      size += m0 * m0 + exp(v) + fabs(v);
      double by_mu = dkl.get(b) * m0, by_lv = dkl.get(b) * 0.5 * expm1(v);
      double mu_size = fabs(by_mu), lv_size = fabs(dkl.get(b)) * (exp(v) + fabs(v));
      for (int64_t k = 0; k < s.samples; ++k) {
        const double eps = noise_of(static_cast<uint64_t>(seed), k * m + i), dzi = dz.get(k * m + i);
        expect(what + " z", z, k * m + i, m0 + deviation * eps,
               fabs(m0) + deviation * fabs(eps) * (1 + fabs(v)));
        by_mu += dzi, mu_size += fabs(dzi);
        by_lv += dzi * eps * 0.5 * deviation, lv_size += fabs(dzi * eps) * deviation * (1 + fabs(v));
      }
      expect(what + " dmu", dmu, i, by_mu, mu_size);
      expect(what + " dlv", dlv, i, by_lv, lv_size);
    }
    expect(what + " kl", kl, b, sum, size);
  }
}

double gumbel_of(uint64_t seed, int64_t element) {
  const portable::Gumbel4 four = portable::gumbel4(seed, static_cast<uint64_t>(element) >> 2, 1);
  const float lanes[] = {four.lane0, four.lane1, four.lane2, four.lane3};
  return lanes[element & 3];
}

// Gumbel-softmax samples with their KL, and the backward of both. The columns are the categories, the samples
// the variables.
void check_categorical(const Shape& s, DType dtype, int offset) {
  const int64_t rows = s.rows * s.samples, n = rows * s.cols;
  if (!s.cols) return;
  Buffer logits(dtype, n, offset), y(dtype, n, offset), dy(dtype, n, offset), grad(dtype, n, offset);
  Buffer kl(dtype == DType::float64 ? DType::float64 : DType::float32, s.rows, 0);
  Buffer dkl(DType::float32, s.rows, 0);
  logits.fill(), dy.fill(), dkl.fill();
  const int64_t seed = static_cast<int64_t>(generator());
  CategoricalArgs a{};
  a.batch = s.rows;
  a.variables = s.samples;
  a.categories = s.cols;
  a.seed = &seed;
  a.tau = 0.75;
  a.logits = logits.matrix(s.cols);
  a.in_packets = s.cols % categories_of_lane == 0 && offset == 0;
  CategoricalArgs g = a;
  a.y = y.matrix(s.cols);
  a.kl = kl.per_row();
  by_sample(a, 3);
  Workspace work(s.rows * a.plan.splits, s.rows);
  a.shared = work.shared();
  launched(categorical(a, nullptr));
  g.grad_y = dy.matrix(s.cols);
  g.grad_kl = dkl.per_row();
  g.grad_logits = grad.matrix(s.cols);
  by_variable(g, 3);
  launched(categorical_backward(g, nullptr));

  const std::string what = "categorical " + std::to_string(s.rows) + "x" + std::to_string(s.samples) + "x" +
                           std::to_string(s.cols) + " dtype " + std::to_string(static_cast<int>(dtype)) +
                           " offset " + std::to_string(offset);
  std::vector<double> x(static_cast<size_t>(s.cols)), q(static_cast<size_t>(s.cols));
  double total_kl = 0, total_size = 0;
  for (int64_t v = 0; v < rows; ++v) {
    double x_sum = 0, q_sum = 0, moment = 0, dot = 0, dot_size = 0, largest = 0;
    for (int64_t k = 0; k < s.cols; ++k) {
      const int64_t i = v * s.cols + k;
      const size_t at = static_cast<size_t>(k);
      x[at] = exp((logits.get(i) + gumbel_of(static_cast<uint64_t>(seed), i)) / a.tau);
      q[at] = exp(logits.get(i));
      x_sum += x[at], q_sum += q[at];
      largest = fmax(largest, fabs(logits.get(i)));
    }
    for (int64_t k = 0; k < s.cols; ++k) {
      const int64_t i = v * s.cols + k;
      const size_t at = static_cast<size_t>(k);
      x[at] /= x_sum, q[at] /= q_sum;
      moment += q[at] * log(q[at]);
      dot += x[at] * dy.get(i), dot_size += fabs(x[at] * dy.get(i));
    }
    // Exponents are as large as (logit + noise) / tau, and so are their errors.
    const double exponents = 2 * (largest + 25) / a.tau;
    for (int64_t k = 0; k < s.cols; ++k) {
      const int64_t i = v * s.cols + k;
      const size_t at = static_cast<size_t>(k);
      const double g_kl = dkl.get(v / s.samples);
      expect(what + " y", y, i, x[at], x[at] * exponents);
      expect(what + " dlogits", grad, i,
             x[at] * (dy.get(i) - dot) / a.tau + g_kl * q[at] * (log(q[at]) - moment),
             exponents * (x[at] * (fabs(dy.get(i)) + dot_size) / a.tau +
                          fabs(g_kl) * q[at] * (fabs(log(q[at])) + fabs(moment))));
    }
    total_kl += moment + log(static_cast<double>(s.cols));
    total_size += 2 * largest + log(static_cast<double>(s.cols)) + 1;
    if (v % s.samples == s.samples - 1) {
      expect(what + " kl", kl, v / s.samples, total_kl, total_size);
      total_kl = total_size = 0;
    }
  }
}

// The KL to a prior: a value for each row or in all, then gradients.
void check_kl(const Shape& s, DType dtype, int offset, bool per_row) {
  const int64_t m = s.rows * s.cols;
  Buffer in[4] = {{dtype, m, offset}, {dtype, m, offset}, {dtype, m, offset}, {dtype, m, offset}};
  Buffer grad[4] = {{dtype, m, offset}, {dtype, m, offset}, {dtype, m, offset}, {dtype, m, offset}};
  for (Buffer& b : in) b.fill();
  Buffer result(dtype == DType::float64 ? DType::float64 : DType::float32, per_row ? s.rows : 1, 0);
  KlArgs a{};
  a.batch = s.rows;
  a.cols = s.cols;
  Operand* inputs[] = {&a.mu, &a.logvar, &a.prior_mu, &a.prior_logvar};
  for (int k = 0; k < 4; ++k) *inputs[k] = in[k].matrix(s.cols);
  a.scale = 1;
  a.per_row = per_row;
  a.result = per_row ? result.per_row() : result.one();
  const int packet = kl_packet_of(dtype);
  a.plan = per_row ? by_row(s.rows, 1, s.cols, packet, 3) : pooled(s.rows, s.cols, packet, 3);
  a.in_packets = dtype != DType::float64;
  a.with_prior = true;
  Workspace work(per_row ? s.rows * a.plan.splits : a.plan.blocks, per_row ? s.rows : 1);
  a.shared = work.shared();
  launched(kl(a, nullptr));

  KlArgs g = a;
  g.per_row = false;
  g.with_grad = true;
  g.result = {};
  g.shared = {};
  Operand* outputs[] = {&g.grad_mu, &g.grad_logvar, &g.grad_prior_mu, &g.grad_prior_logvar};
  for (int k = 0; k < 4; ++k) *outputs[k] = grad[k].matrix(s.cols);
  g.plan = pooled(s.rows, s.cols, packet, 3);
  launched(kl(g, nullptr));

  const std::string what = "kl " + std::to_string(s.rows) + "x" + std::to_string(s.cols) + " dtype " +
                           std::to_string(static_cast<int>(dtype)) + " offset " + std::to_string(offset);
  double total = 0, total_size = 0;
  for (int64_t b = 0; b < s.rows; ++b) {
    double sum = 0, size = 0;
    for (int64_t c = 0; c < s.cols; ++c) {
      const int64_t i = b * s.cols + c;
      const double difference = in[0].get(i) - in[2].get(i), precision = exp(-in[3].get(i));
      const double d = in[1].get(i) - in[3].get(i), squares = difference * difference * precision;
      const double slope = 1 + exp(d) * (1 + fabs(in[1].get(i)) + fabs(in[3].get(i)));
      const double room = squares * (1 + fabs(in[3].get(i))) +
                          precision * (fabs(in[0].get(i)) + fabs(in[2].get(i))) * (1 + fabs(difference)) +
                          slope;
      sum += 0.5 * (squares + expm1(d) - d);
      size += room;
      expect(what + " dmu", grad[0], i, difference * precision, room);
      expect(what + " dlogvar", grad[1], i, 0.5 * expm1(d), room);
      expect(what + " dprior_mu", grad[2], i, -difference * precision, room);
      expect(what + " dprior_logvar", grad[3], i, -0.5 * (squares + expm1(d)), room);
    }
    if (per_row) expect(what, result, b, sum, size);
    total += sum, total_size += size;
  }
  if (!per_row) expect(what, result, 0, total, total_size);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const bool few = argc > 2 && !strcmp(argv[2], "few");
  spoil = argc > 2 && !strcmp(argv[2], "spoil");
  generator.seed(strtoull(argv[1], nullptr, 10));
  const DType parameters[] = {DType::float32, DType::float64, DType::bfloat16, DType::float16};
  const DType targets[] = {DType::float32, DType::float64, DType::bfloat16,
                           DType::float16, DType::unit8,   DType::boolean};
  // One row, rows of a warp's share, odd rows, many short rows, few long rows, several draws, nothing.
  std::vector<Shape> shapes = {
      {1, 1, 5000, 3}, {1, 7, 61, 5}, {3, 5, 36, 4}, {1, 300, 5, 2}, {1, 2, 4999, 1}};
  if (!few)
    shapes.insert(shapes.end(),
                  {{2, 3, 2049, 7}, {1, 40, 784, 20}, {1, 3, 0, 0}, {1, 1, 1, 1}, {2, 9, 19, 1}});
  for (const Shape& s : shapes) {
    for (const DType dtype : parameters) {
      for (const DType target : targets) {
        if (few && target != dtype && target != DType::unit8) continue;
        for (const bool per_row : {false, true}) {
          const int offset = static_cast<int>(generator() % 8);
          for (const bool alike : {true, false}) {
            const auto check = [&](Likelihood likelihood, Form form, DType of_target) {
              check_elbo(s, dtype, of_target, likelihood, form, offset, alike, !alike, per_row);
            };
            check(Likelihood::bernoulli, Form::absent, target);
            if (size_of(target) == 1)
              check(Likelihood::poisson, Form::absent, target == DType::unit8 ? DType::uint8 : target);
            if (few && target == DType::unit8) continue;
            check(Likelihood::gaussian, Form::absent, target);
            for (const Form form : {Form::one, Form::element, Form::column, Form::sample}) {
              // Both likelihoods of a pair differ in their formula alone.
              const bool odd = (static_cast<int>(form) + static_cast<int>(target)) % 2;
              check(odd ? Likelihood::gaussian : Likelihood::laplace, form, target);
            }
          }
        }
      }
      for (const int offset : {0, 1}) {
        check_sample(s, dtype, offset);
        check_categorical(s, dtype, offset);
        for (const bool per_row : {false, true}) check_kl(s, dtype, offset, per_row);
      }
    }
  }
  printf("%lld values as expected\n", static_cast<long long>(checked));
}
