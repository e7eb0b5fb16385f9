// Row kernels of every likelihood, with the KL of the latent in the same launch: parameters, target and
// weight are read once; sums, elements and gradients are written in the same pass. For a float32 scalar
// loss with its gradient: 12 bytes per element, 5 for bfloat16 logits with uint8 targets.
#pragma once

#include "../math/gaussian_kl.h"
#include "../math/likelihood.h"
#include "reduce.cuh"
#include "rows.cuh"

namespace vae_fast {
namespace cuda {

using portable::Bernoulli;
using portable::ElementNll;
using portable::GaussianElement;
using portable::GaussianShared;
using portable::GaussianUnit;

// The functor of a launch; a shared log-variance is read from device memory.
template <class F, class T>
struct Functor {
  static constexpr bool element_logvar = false;
  static __device__ __forceinline__ F make(const ElboArgs&) { return F{}; }
};
template <class T>
struct Functor<GaussianElement<T>, T> {
  static constexpr bool element_logvar = true;
  static __device__ __forceinline__ GaussianElement<T> make(const ElboArgs&) { return {}; }
};
template <class T>
struct Functor<GaussianShared<T>, T> {
  static constexpr bool element_logvar = false;
  static __device__ __forceinline__ GaussianShared<T> make(const ElboArgs& args) {
    const T logvar = element_of<T>(args.logvar, 0, 0);
    return {logvar, portable::exponential(-logvar)};
  }
};

// The factor that a one-element tensor holds.
__device__ __forceinline__ double factor_of(const Operand& a) {
  return a.data ? element_of<double>(a, 0, 0) : 1.0;
}

// One row of the reconstruction term.
template <class F, class P, bool with_value, bool with_grad>
struct NllRow {
  using T = typename Storage<P>::compute;
  static constexpr int E = packet_of(Storage<P>::dtype);
  static constexpr int U = packets_in_flight;
  static constexpr bool element_logvar = Functor<F, T>::element_logvar;
  static constexpr bool grad_of_logvar = with_grad && F::has_logvar;

  const ElboArgs& args;
  const Place& place;
  F f;
  T constant, scale;
  Source<T, E> param, logvar, target, weight, grad_out;
  Sink<T, E> values, grad_param, grad_logvar;
  int shift = 0;
  bool aligned = false;
  T tile_sum = T(0), tile_logvar_sum = T(0);
  double sum = 0, logvar_sum = 0;

  __device__ __forceinline__ NllRow(const ElboArgs& a, const Place& p, double factor)
      : args(a),
        place(p),
        f(Functor<F, T>::make(a)),
        constant(static_cast<T>(a.constant)),
        scale(static_cast<T>(factor)),
        param(a.param, T(0)),
        logvar(a.logvar, T(0)),
        target(a.target, T(0)),
        weight(a.weight, T(1)),
        grad_out(a.grad_out, T(1)),
        values(a.values),
        grad_param(a.grad_param),
        grad_logvar(a.grad_logvar) {
    param.dtype = grad_param.dtype = Storage<P>::dtype;  // known to the compiler
  }

  __device__ __forceinline__ void set_row(int64_t row) {
    const int64_t target_row = args.samples == 1 ? row : args.batch == 1 ? 0 : row % args.batch;
    param.set_row(args.param, row);
    target.set_row(args.target, target_row);
    weight.set_row(args.weight, target_row);
    if (element_logvar) logvar.set_row(args.logvar, row);
    if (with_value) values.set_row(args.values, row);
    if (with_grad) {
      grad_out.set_row(args.grad_out, args.grad_out_of_batch ? target_row : row);
      grad_param.set_row(args.grad_param, row);
      if (element_logvar) grad_logvar.set_row(args.grad_logvar, row);
    }
    // Packets are aligned where the gradient is, which is fresh memory, else where the parameter is.
    const char* leader = with_grad && grad_param.row ? grad_param.row : param.row;
    shift = leader ? shift_of<E>(leader, Storage<P>::dtype) : 0;
    aligned = param.aligned(shift) && target.aligned(shift) && weight.aligned(shift) &&
              (!element_logvar || logvar.aligned(shift)) && (!with_value || values.aligned(shift)) &&
              (!with_grad || (grad_out.aligned(shift) && grad_param.aligned(shift) &&
                              (!element_logvar || grad_logvar.aligned(shift))));
  }

  __device__ __forceinline__ void tile(int64_t index) {
    tile_sum = tile_logvar_sum = T(0);
    walk_tile<E, U>(place, args.cols, index, shift, aligned, *this);
    // Few terms are added in the arithmetic's type, everything else in double.
    sum += tile_sum;
    logvar_sum += tile_logvar_sum;
  }

  __device__ __forceinline__ void packets(const int64_t (&start)[U], const bool (&whole)[U]) {
    Raw<T, E> raw_param[U], raw_logvar[U], raw_target[U];
    VAE_FAST_UNROLL
    for (int u = 0; u < U; ++u) {
      if (!whole[u]) continue;
      raw_param[u] = param.load(start[u]);
      if (element_logvar) raw_logvar[u] = logvar.load(start[u]);
      raw_target[u] = target.load(start[u]);
    }
    VAE_FAST_UNROLL
    for (int u = 0; u < U; ++u)
      if (whole[u]) packet(start[u], raw_param[u], raw_logvar[u], raw_target[u]);
  }

  __device__ __forceinline__ void packet(int64_t start, const Raw<T, E>& raw_param,
                                         const Raw<T, E>& raw_logvar, const Raw<T, E>& raw_target) {
    T x[E], v[E], t[E], value[E], dparam[E], dlogvar[E];
    param.values(raw_param, x);
    target.values(raw_target, t);
    if (element_logvar) logvar.values(raw_logvar, v);
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i) {
      const ElementNll<T> e = f(x[i], element_logvar ? v[i] : T(0), t[i]);
      value[i] = e.value + constant;
      dparam[i] = e.dparam * scale;
      dlogvar[i] = e.dlogvar * scale;
    }
    if (args.weight.data) {
      T w[E];
      weight.values(start, w);
      VAE_FAST_UNROLL
      for (int i = 0; i < E; ++i) {
        value[i] *= w[i];
        dparam[i] *= w[i];
        dlogvar[i] *= w[i];
      }
    }
    if (with_grad && args.grad_out.data) {
      T g[E];
      grad_out.values(start, g);
      VAE_FAST_UNROLL
      for (int i = 0; i < E; ++i) {
        dparam[i] *= g[i];
        dlogvar[i] *= g[i];
      }
    }
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i) {
      if (with_value) tile_sum += value[i];
      if (grad_of_logvar && !element_logvar) tile_logvar_sum += dlogvar[i];
    }
    if (with_value) values.packet(start, value);
    if (with_grad) grad_param.packet(start, dparam);
    if (grad_of_logvar && element_logvar) grad_logvar.packet(start, dlogvar);
  }

  __device__ __forceinline__ void element(int64_t i) {
    const ElementNll<T> e = f(param.element(i), element_logvar ? logvar.element(i) : T(0), target.element(i));
    const T w = weight.element(i), g = with_grad ? grad_out.element(i) : T(1);
    const T value = (e.value + constant) * w;
    const T dparam = e.dparam * scale * w * g, dlogvar = e.dlogvar * scale * w * g;
    if (with_value) {
      tile_sum += value;
      values.element(i, value);
    }
    if (with_grad) grad_param.element(i, dparam);
    if (grad_of_logvar && element_logvar) grad_logvar.element(i, dlogvar);
    if (grad_of_logvar && !element_logvar) tile_logvar_sum += dlogvar;
  }
};

// This thread's share of the KL, [worker, worker + workers, ...], and of its gradients.
template <class T>
__device__ __forceinline__ double latent_terms(const ElboArgs& args, double factor, int64_t worker,
                                               int64_t workers) {
  double sum = 0;
  const int64_t n = args.kl.data || args.grad_kl.data ? args.batch : 0;
  for (int64_t b = worker; b < n; b += workers) {
    if (args.kl.data) sum += element_of<double>(args.kl, b, 0);
    const double rows = args.grad_out.data ? element_of<double>(args.grad_out, b, 0) : 1.0;
    if (args.grad_kl.data) set_element<double>(args.grad_kl, b, 0, factor * rows);
  }
  if (!args.mu.data) return sum;
  const T scale = static_cast<T>(factor);
  for (int64_t i = worker; i < args.batch * args.latents; i += workers) {
    const int64_t b = i / args.latents, j = i - b * args.latents;
    const T mu = element_of<T>(args.mu, b, j), logvar = element_of<T>(args.latent_logvar, b, j);
    sum += portable::kl_standard(mu, logvar);
    const T g = args.grad_out.data ? scale * element_of<T>(args.grad_out, b, 0) : scale;
    if (args.grad_mu.data) set_element<T>(args.grad_mu, b, j, g * mu);
    if (args.grad_latent_logvar.data)
      set_element<T>(args.grad_latent_logvar, b, j, g * portable::kl_standard_dlogvar(logvar));
  }
  return sum;
}

__device__ __forceinline__ void write_loss(const ElboArgs& args, int64_t row, double recon, double kl,
                                           double beta) {
  const bool with_kl = args.recon_out.data;
  set_element<double>(args.loss, row, 0, with_kl ? recon + beta * kl : recon);
  if (!with_kl) return;
  set_element<double>(args.recon_out, row, 0, recon);
  set_element<double>(args.kl_out, row, 0, kl);
}

// One result, or elements, or gradients alone.
template <class F, class P, bool with_value, bool with_grad>
__global__ void __launch_bounds__(block_threads, blocks_per_processor) elbo_pooled(const ElboArgs args) {
  using T = typename Storage<P>::compute;
  const double factor = factor_of(args.grad);
  if (args.unless_one && factor == 1.0) return;
  const double beta = args.beta * factor_of(args.beta_factor);
  const Place place(args.plan.lanes);
  NllRow<F, P, with_value, with_grad> rows(args, place, args.recon_scale * factor);
  for_each_tile(place, args.samples * args.batch, args.plan.tiles, rows);
  // From the last thread on: the first ones may have a tile more than the others.
  const int64_t threads = int64_t(gridDim.x) * block_threads;
  const int64_t worker = threads - 1 - (int64_t(blockIdx.x) * block_threads + threadIdx.x);
  const double kl = latent_terms<T>(args, beta * args.kl_scale * factor, worker, threads);
  if (!args.shared.partial) return;

  double sums[3] = {rows.sum, kl, rows.logvar_sum};
  block_sums(sums);
  if (!sums_of_blocks(sums, args.shared.partial, args.shared.tickets, blockIdx.x, gridDim.x)) return;
  if (threadIdx.x != 0) return;
  if (args.loss.data) write_loss(args, 0, sums[0] * args.recon_scale, sums[1] * args.kl_scale, beta);
  if (args.grad_shared_logvar.data) set_element<double>(args.grad_shared_logvar, 0, 0, sums[2]);
}

// One result for each row of the batch.
template <class F, class P>
__global__ void __launch_bounds__(block_threads, blocks_per_processor) elbo_by_row(const ElboArgs args) {
  using T = typename Storage<P>::compute;
  const double beta = args.beta * factor_of(args.beta_factor);
  const Place place(args.plan.lanes);
  NllRow<F, P, true, false> rows(args, place, 1.0);
  const int64_t splits = args.plan.splits, tiles = args.plan.tiles, work = args.batch * splits;
  // All groups of a block run this loop equally often: the sums below need every thread.
  for (int64_t base = int64_t(blockIdx.x) * block_threads / place.lanes; base < work; base += place.groups) {
    const int64_t item = base + static_cast<int>(threadIdx.x) / place.lanes;
    const int64_t row = item / splits, split = item % splits;
    rows.sum = 0;
    double kl = 0;
    if (item < work) {
      for (int64_t s = 0; s < args.samples; ++s) {
        // Samples times tiles are dealt to the splits in turn.
        int64_t tile = splits == 1 ? 0 : ((split - s * tiles) % splits + splits) % splits;
        if (tile < tiles) rows.set_row(s * args.batch + row);
        for (; tile < tiles; tile += splits) rows.tile(tile);
      }
      if (split == 0) {
        if (args.kl.data && place.lane == 0) kl = element_of<double>(args.kl, row, 0);
        if (args.mu.data)
          for (int64_t j = place.lane; j < args.latents; j += place.lanes)
            kl += portable::kl_standard(element_of<T>(args.mu, row, j), element_of<T>(args.latent_logvar, row, j));
      }
    }
    double sums[2] = {rows.sum, kl};
    group_sums(sums, place.lanes);
    if (splits > 1 && !sums_of_blocks(sums, args.shared.partial + row * splits * 2, args.shared.tickets + row,
                                      split, splits))
      continue;
    if (item < work && place.lane == 0)
      write_loss(args, row, sums[0] * args.recon_scale, sums[1] * args.kl_scale, beta);
  }
}

template <class F, class P>
inline const char* launch_elbo(const ElboArgs& args, void* stream) {
  const int64_t blocks = args.plan.blocks;
  if (args.per_row) return launch(elbo_by_row<F, P>, blocks, block_threads, stream, args);
  const bool with_value = args.loss.data || args.values.data;
  const bool with_grad = args.grad_param.data || args.grad_logvar.data || args.grad_shared_logvar.data;
  if (!with_grad) return launch(elbo_pooled<F, P, true, false>, blocks, block_threads, stream, args);
  return with_value ? launch(elbo_pooled<F, P, true, true>, blocks, block_threads, stream, args)
                    : launch(elbo_pooled<F, P, false, true>, blocks, block_threads, stream, args);
}

template <class P>
inline const char* elbo_of(const ElboArgs& args, void* stream) {
  using T = typename Storage<P>::compute;
  if (args.likelihood == Likelihood::bernoulli) return launch_elbo<Bernoulli<T>, P>(args, stream);
  if (!args.logvar.data) return launch_elbo<GaussianUnit<T>, P>(args, stream);
  return args.shared_logvar ? launch_elbo<GaussianShared<T>, P>(args, stream)
                            : launch_elbo<GaussianElement<T>, P>(args, stream);
}

}  // namespace cuda
}  // namespace vae_fast
