// Kernels of the latent layer. Sampling and KL: reads mu and logvar once, writes z, keeps no noise; the
// backward draws the same noise again from the seed. KL alone: to N(0, 1) or to another Gaussian.
#pragma once

#include "../math/gaussian_kl.h"
#include "noise.h"

namespace vae_fast {
namespace VAE_FAST_ISA {

// Noise of n elements from `element` on: the operand eps where it is given, else drawn.
template <class T>
inline const T* noise(const Operand& eps, uint64_t seed, int64_t element, int64_t n, T* buffer) {
  if (eps.data) return load(eps, 0, element, n, buffer);
  alignas(64) float drawn[piece_length];
  draw<NormalNoise>(seed, element, element + n, drawn);
  for (int64_t i = 0; i < n; ++i) buffer[i] = drawn[i];
  return buffer;
}

template <class T>
struct SampleBody {
  const SampleArgs& args;

  void operator()(int64_t unit, int64_t row, int64_t col, int64_t n) const {
    alignas(64) T mu_buffer[piece_length], logvar_buffer[piece_length], noise_buffer[piece_length];
    alignas(64) T z_buffer[piece_length], kl_buffer[piece_length];
    const int64_t source_row = row % args.batch;
    const T* __restrict mu = load(args.mu, source_row, col, n, mu_buffer);
    const T* __restrict logvar = load(args.logvar, source_row, col, n, logvar_buffer);
    const T* __restrict eps = noise(args.eps, args.seed, row * args.split.cols + col, n, noise_buffer);
    T* __restrict z = destination(args.z, row, col, z_buffer);
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) z[i] = mu[i] + exponential(T(0.5) * logvar[i]) * eps[i];
    store(args.z, row, col, n, z);
    if (args.kl_sums && row < args.batch) {
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) kl_buffer[i] = kl_standard(mu[i], logvar[i]);
      add_sums(args.split, unit, n, kl_buffer, args.kl_sums);
    }
  }
};

template <class T>
inline void sample_typed(const SampleArgs& args, int64_t begin, int64_t end) {
  const int64_t cols = args.split.cols;
  const bool dense = is_dense(args.mu, cols) && is_dense(args.logvar, cols);
  if (args.kl_sums)
    for (int64_t unit = begin; unit < end && unit < args.batch * args.split.per_row; ++unit)
      args.kl_sums[unit] = 0;
  for_each_piece(args.split, args.batch, dense, begin, end, SampleBody<T>{args});
}

inline void sample(const SampleArgs& args, int64_t begin, int64_t end) {
  if (args.is_double)
    sample_typed<double>(args, begin, end);
  else
    sample_typed<float>(args, begin, end);
}

template <class T>
struct SampleBackwardBody {
  const SampleBackwardArgs& args;

  void operator()(int64_t, int64_t row, int64_t col, int64_t n) const {
    alignas(64) T mu_buffer[piece_length], logvar_buffer[piece_length], noise_buffer[piece_length];
    alignas(64) T grad_z_buffer[piece_length], grad_kl_buffer[piece_length];
    alignas(64) T grad_mu[piece_length], grad_logvar[piece_length];
    const T* __restrict mu = load(args.mu, row, col, n, mu_buffer);
    const T* __restrict logvar = load(args.logvar, row, col, n, logvar_buffer);
    const int64_t cols = args.split.cols;
    for (int64_t i = 0; i < n; ++i) grad_mu[i] = grad_logvar[i] = T(0);
    if (args.grad_z.data) {
      for (int64_t s = 0; s < args.samples; ++s) {
        const int64_t z_row = s * args.split.rows + row;
        const T* __restrict eps = noise(args.eps, args.seed, z_row * cols + col, n, noise_buffer);
        const T* __restrict grad_z = load(args.grad_z, z_row, col, n, grad_z_buffer);
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
          grad_mu[i] += grad_z[i];
          grad_logvar[i] += grad_z[i] * eps[i];
        }
      }
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) grad_logvar[i] *= T(0.5) * exponential(T(0.5) * logvar[i]);
    }
    if (args.grad_kl.data) {
      for (int64_t i = 0; i < n; i += cols) {  // a piece holds whole rows or part of one
        const int64_t length = minimum(cols, n - i);
        load(args.grad_kl, row + i / cols, 0, length, grad_kl_buffer + i);
      }
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) {
        grad_mu[i] += grad_kl_buffer[i] * mu[i];
        grad_logvar[i] += grad_kl_buffer[i] * kl_standard_dlogvar(logvar[i]);
      }
    }
    write(args.grad_mu, row, col, n, grad_mu);
    write(args.grad_logvar, row, col, n, grad_logvar);
  }
};

template <class T>
inline void sample_backward_typed(const SampleBackwardArgs& args, int64_t begin, int64_t end) {
  const int64_t cols = args.split.cols;
  const bool dense = is_dense(args.mu, cols) && is_dense(args.logvar, cols) && is_dense(args.grad_z, cols);
  for_each_piece(args.split, args.split.rows, dense, begin, end, SampleBackwardBody<T>{args});
}

inline void sample_backward(const SampleBackwardArgs& args, int64_t begin, int64_t end) {
  if (args.is_double)
    sample_backward_typed<double>(args, begin, end);
  else
    sample_backward_typed<float>(args, begin, end);
}

template <class T>
struct KlBody {
  const KlArgs& args;

  void operator()(int64_t unit, int64_t row, int64_t col, int64_t n) const {
    alignas(64) T mu_buffer[piece_length], logvar_buffer[piece_length], factor[piece_length];
    alignas(64) T buffers[5][piece_length];
    const T* __restrict mu = load(args.mu, row, col, n, mu_buffer);
    const T* __restrict logvar = load(args.logvar, row, col, n, logvar_buffer);
    const Operand* results[5] = {&args.values, &args.grad_mu, &args.grad_logvar, &args.grad_prior_mu,
                                 &args.grad_prior_logvar};
    T* out[5];  // a result's own memory, or a buffer to convert from or to forget
    for (int k = 0; k < 5; ++k)
      out[k] = results[k]->data ? destination(*results[k], row, col, buffers[k]) : buffers[k];
    const bool with_value = args.value_sums || args.values.data;
    bool with_grad = false;
    for (int k = 1; k < 5; ++k) with_grad = with_grad || results[k]->data;

    const T scale = static_cast<T>(args.grad_scale);
    if (with_grad && args.grad_out.data) {
      const T* grad_out = load(args.grad_out, row, col, n, factor);
      for (int64_t i = 0; i < n; ++i) factor[i] = grad_out[i] * scale;
    } else {
      for (int64_t i = 0; i < n; ++i) factor[i] = scale;
    }
    if (args.prior_mu.data || args.prior_logvar.data)
      to_prior(row, col, n, mu, logvar, factor, out[0], out[1], out[2], out[3], out[4]);
    else
      to_standard(n, mu, logvar, factor, with_value ? out[0] : nullptr, with_grad ? out[1] : nullptr, out[2]);

    if (args.value_sums) add_sums(args.split, unit, n, out[0], args.value_sums);
    for (int k = 0; k < 5; ++k)
      if (results[k]->data) store(*results[k], row, col, n, out[k]);
  }

  static void to_standard(int64_t n, const T* __restrict mu, const T* __restrict logvar,
                          const T* __restrict factor, T* __restrict value, T* __restrict grad_mu,
                          T* __restrict grad_logvar) {
    if (value) {
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) value[i] = kl_standard(mu[i], logvar[i]);
    }
    if (grad_mu) {
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) {
        grad_mu[i] = factor[i] * mu[i];
        grad_logvar[i] = factor[i] * kl_standard_dlogvar(logvar[i]);
      }
    }
  }

  void to_prior(int64_t row, int64_t col, int64_t n, const T* __restrict mu, const T* __restrict logvar,
                const T* __restrict factor, T* __restrict value, T* __restrict grad_mu,
                T* __restrict grad_logvar, T* __restrict grad_prior_mu,
                T* __restrict grad_prior_logvar) const {
    alignas(64) T mu_buffer[piece_length], logvar_buffer[piece_length];
    for (int64_t i = 0; i < n; ++i) mu_buffer[i] = logvar_buffer[i] = T(0);
    const T* __restrict prior_mu =
        args.prior_mu.data ? load(args.prior_mu, row, col, n, mu_buffer) : mu_buffer;
    const T* __restrict prior_logvar =
        args.prior_logvar.data ? load(args.prior_logvar, row, col, n, logvar_buffer) : logvar_buffer;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      const KLGeneral<T> e = kl_general(mu[i], logvar[i], prior_mu[i], prior_logvar[i]);
      value[i] = e.value;
      grad_mu[i] = factor[i] * e.dmu;
      grad_logvar[i] = factor[i] * e.dlogvar;
      grad_prior_mu[i] = factor[i] * e.dprior_mu;
      grad_prior_logvar[i] = factor[i] * e.dprior_logvar;
    }
  }
};

template <class T>
inline void kl_typed(const KlArgs& args, int64_t begin, int64_t end) {
  const int64_t cols = args.split.cols;
  const bool dense = is_dense(args.mu, cols) && is_dense(args.logvar, cols) &&
                     is_dense(args.prior_mu, cols) && is_dense(args.prior_logvar, cols) &&
                     is_dense(args.grad_out, cols);
  if (args.value_sums)
    for (int64_t unit = begin; unit < end; ++unit) args.value_sums[unit] = 0;
  for_each_piece(args.split, args.split.rows, dense, begin, end, KlBody<T>{args});
}

inline void kl(const KlArgs& args, int64_t begin, int64_t end) {
  if (args.is_double)
    kl_typed<double>(args, begin, end);
  else
    kl_typed<float>(args, begin, end);
}

}  // namespace VAE_FAST_ISA
}  // namespace vae_fast
