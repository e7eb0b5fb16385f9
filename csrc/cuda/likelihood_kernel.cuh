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
    const T logvar = static_cast<T>(number_of(args.logvar, 0));
    return {logvar, portable::exponential(-logvar)};
  }
};

enum class Pass {
  sums,
  elements,
  gradients,
  both
};  // values summed or written, gradients, sums and gradients

template <class F, class T, Pass pass>
struct NllTraits {
  static constexpr bool element_logvar = Functor<F, T>::element_logvar;
  static constexpr bool with_value = pass != Pass::gradients;
  static constexpr bool with_sum = pass == Pass::sums || pass == Pass::both;
  static constexpr bool with_grad = pass == Pass::gradients || pass == Pass::both;
};

__device__ __forceinline__ int64_t target_row_of(const ElboArgs& args, int64_t row) {
  return args.samples == 1 ? row : args.rows == 1 ? 0 : row % args.rows;
}

// One row in packets: parameters and gradients of type P, target of type Q, no weights. float64 has no
// packets: neighbouring lanes move 8 bytes each, which is as wide as memory wants.
template <class F, class P, class Q, Pass pass>
struct NllPackets : NllTraits<F, typename Storage<P>::compute, pass> {
  using T = typename Storage<P>::compute;
  using Traits = NllTraits<F, T, pass>;
  using Traits::element_logvar;
  static constexpr int E = nll_packet_of(Storage<P>::dtype, element_logvar);
  static constexpr int resident = packet_blocks, resident_by_row = packet_blocks;
  static constexpr bool adds_constant = pass == Pass::elements;  // else the sum gets all of them at its end
  // Packets in flight before the first is used, as registers allow.
  static constexpr int words = Packet<P, E>::words * (element_logvar ? 2 : 1) + Packet<Q, E>::words;
  static constexpr int U = !element_logvar && words <= 6 ? packets_of_tile : 1;

  const ElboArgs& args;
  const Place& place;
  F f;
  T scale;
  ByteScale byte_scale;
  const P *param = nullptr, *logvar = nullptr;
  const Q* target = nullptr;
  P *grad_param = nullptr, *grad_logvar = nullptr;
  T* values = nullptr;
  int shift = 0;
  T tile_sum = T(0), tile_logvar_sum = T(0);
  double sum = 0, logvar_sum = 0;

  __device__ __forceinline__ NllPackets(const ElboArgs& a, const Place& p, double factor)
      : args(a),
        place(p),
        f(Functor<F, T>::make(a)),
        scale(static_cast<T>(factor)),
        byte_scale(ByteScale::of(a.target.dtype)) {}

  __device__ __forceinline__ void set_row(int64_t row) {
    const int64_t target_row = target_row_of(args, row);
    param = static_cast<const P*>(args.param.data) + row * args.param.row_stride;
    target = static_cast<const Q*>(args.target.data) + target_row * args.target.row_stride;
    if (element_logvar) logvar = static_cast<const P*>(args.logvar.data) + row * args.logvar.row_stride;
    shift = shift_of<E>(param);
    if (pass == Pass::elements) values = static_cast<T*>(args.values.data) + row * args.values.row_stride;
    if (!Traits::with_grad) return;
    grad_param = static_cast<P*>(args.grad_param.data) + row * args.grad_param.row_stride;
    if (element_logvar)
      grad_logvar = static_cast<P*>(args.grad_logvar.data) + row * args.grad_logvar.row_stride;
    if (args.grad_out.data)
      scale = static_cast<T>(args.recon_scale * factor_of(args.grad)) *
              static_cast<T>(number_of(args.grad_out, args.grad_out_of_batch ? target_row : row));
  }

  __device__ __forceinline__ void tile(int index) {
    tile_sum = tile_logvar_sum = T(0);
    walk_packets<E, U>(place, args.cols, index, shift, *this);
    // Few terms are added in the arithmetic's type, everything else in double.
    if (Traits::with_sum) sum += tile_sum;
    if (Traits::with_grad && F::has_logvar) logvar_sum += tile_logvar_sum;
  }

  __device__ __forceinline__ void packets(const int64_t (&start)[U], const bool (&whole)[U]) {
    Packet<P, E> x[U], v[U];
    Packet<Q, E> t[U];
    VAE_FAST_UNROLL
    for (int u = 0; u < U; ++u) {
      if (!whole[u]) continue;
      x[u] = Packet<P, E>::load(param + start[u]);
      if (element_logvar) v[u] = Packet<P, E>::load(logvar + start[u]);
      t[u] = Packet<Q, E>::load(target + start[u]);
    }
    VAE_FAST_UNROLL
    for (int u = 0; u < U; ++u)
      if (whole[u]) packet(start[u], x[u], v[u], t[u]);
  }

  __device__ __forceinline__ void packet(int64_t start, const Packet<P, E>& x, const Packet<P, E>& v,
                                         const Packet<Q, E>& t) {
    T value[E], dparam[E], dlogvar[E];
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i) {
      const ElementNll<T> e =
          f(value_of(x, i), element_logvar ? value_of(v, i) : T(0), value_of(t, i, byte_scale));
      value[i] = adds_constant ? e.value + static_cast<T>(args.constant) : e.value;
      dparam[i] = e.dparam * scale;
      dlogvar[i] = e.dlogvar * scale;
      if (Traits::with_sum) tile_sum += value[i];
      if (Traits::with_grad && F::has_logvar && !element_logvar) tile_logvar_sum += dlogvar[i];
    }
    if (pass == Pass::elements) store_packet<T, E>(values + start, value);
    if (!Traits::with_grad) return;
    store_packet<P, E>(grad_param + start, dparam);
    if (element_logvar) store_packet<P, E>(grad_logvar + start, dlogvar);
  }

  __device__ __forceinline__ void element(int64_t i) {
    const T t = element_of<T>(args.target, 0, (target - static_cast<const Q*>(args.target.data)) + i);
    const ElementNll<T> e = f(value_of(param[i]), element_logvar ? value_of(logvar[i]) : T(0), t);
    if (Traits::with_sum) tile_sum += e.value;
    if (pass == Pass::elements) values[i] = e.value + static_cast<T>(args.constant);
    if (!Traits::with_grad) return;
    set(grad_param[i], e.dparam * scale);
    if (element_logvar) set(grad_logvar[i], e.dlogvar * scale);
    if (F::has_logvar && !element_logvar) tile_logvar_sum += e.dlogvar * scale;
  }
};

// One row element by element: any dtypes, strides and alignment, weights, and gradients that are absent.
template <class F, class Compute, Pass pass>
struct NllElements : NllTraits<F, Compute, pass> {
  using T = Compute;
  using Traits = NllTraits<F, T, pass>;
  using Traits::element_logvar;
  static constexpr int resident = element_blocks<T>, resident_by_row = 2;
  static constexpr bool adds_constant = true;

  const ElboArgs& args;
  const Place& place;
  F f;
  T scale;
  int64_t row = 0, target_row = 0;
  T tile_sum = T(0), tile_logvar_sum = T(0);
  double sum = 0, logvar_sum = 0;

  __device__ __forceinline__ NllElements(const ElboArgs& a, const Place& p, double factor)
      : args(a), place(p), f(Functor<F, T>::make(a)), scale(static_cast<T>(factor)) {}

  __device__ __forceinline__ void set_row(int64_t index) {
    row = index;
    target_row = target_row_of(args, row);
  }

  __device__ __forceinline__ void tile(int index) {
    tile_sum = tile_logvar_sum = T(0);
    walk_elements(place, args.cols, index, args.plan.elements, *this);
    sum += tile_sum;
    logvar_sum += tile_logvar_sum;
  }

  __device__ __forceinline__ void element(int64_t i) {
    const ElementNll<T> e =
        f(element_of<T>(args.param, row, i), element_logvar ? element_of<T>(args.logvar, row, i) : T(0),
          element_of<T>(args.target, target_row, i));
    const T weight = element_or<T>(args.weight, target_row, i, T(1));
    if (Traits::with_value) {
      const T value = (e.value + static_cast<T>(args.constant)) * weight;
      tile_sum += value;
      if (pass == Pass::elements) set_element<T>(args.values, row, i, value);
    }
    if (!Traits::with_grad) return;
    const T factor = element_or<T>(args.grad_out, args.grad_out_of_batch ? target_row : row, i, T(1));
    if (args.grad_param.data) set_element<T>(args.grad_param, row, i, e.dparam * scale * weight * factor);
    if (!F::has_logvar) return;
    const T dlogvar = e.dlogvar * scale * weight * factor;
    tile_logvar_sum += dlogvar;
    if (args.grad_logvar.data) set_element<T>(args.grad_logvar, row, i, dlogvar);
  }
};

// This thread's share of the KL, [worker, worker + workers, ...], and of its gradients.
// A function of its own, apart from the registers of the loop over rows.
template <class T>
__device__ VAE_FAST_NOINLINE double latent_terms(const ElboArgs& args, double factor, int64_t worker,
                                                 int64_t workers) {
  double sum = 0;
  const int64_t n = args.kl.data || args.grad_kl.data ? args.batch : 0;
  for (int64_t b = worker; b < n; b += workers) {
    if (args.kl.data) sum += number_of(args.kl, b);
    const double rows = args.grad_out.data ? number_of(args.grad_out, b) : 1.0;
    if (args.grad_kl.data) set_element<double>(args.grad_kl, b, 0, factor * rows);
  }
  if (!args.mu.data) return sum;
  const T scale = static_cast<T>(factor);
  for (int64_t i = worker; i < args.batch * args.latents; i += workers) {
    const int64_t b = i / args.latents, j = i - b * args.latents;
    const T mu = element_of<T>(args.mu, b, j), logvar = element_of<T>(args.latent_logvar, b, j);
    sum += portable::kl_standard(mu, logvar);
    const T g = args.grad_out.data ? scale * static_cast<T>(number_of(args.grad_out, b)) : scale;
    if (args.grad_mu.data) set_element<T>(args.grad_mu, b, j, g * mu);
    if (args.grad_latent_logvar.data)
      set_element<T>(args.grad_latent_logvar, b, j, g * portable::kl_standard_dlogvar(logvar));
  }
  return sum;
}

// The results of `rows` rows from their sums.
template <class Row>
__device__ __forceinline__ void write_loss(const ElboArgs& args, int64_t row, int64_t rows, double nll,
                                           double kl_sum, double beta) {
  if (!Row::adds_constant) nll += args.constant * static_cast<double>(args.samples * rows * args.cols);
  const double recon = nll * args.recon_scale, kl = kl_sum * args.kl_scale;
  const bool with_kl = args.recon_out.data;
  set_element<double>(args.loss, row, 0, with_kl ? recon + beta * kl : recon);
  if (!with_kl) return;
  set_element<double>(args.recon_out, row, 0, recon);
  set_element<double>(args.kl_out, row, 0, kl);
}

// One result, or elements, or gradients alone.
template <class Row>
__global__ void __launch_bounds__(block_threads, Row::resident)
    elbo_pooled(const __grid_constant__ ElboArgs args) {
  if (args.unless_one && factor_of(args.grad) == 1.0) return;
  const Place place(args.plan.lanes);
  Row rows(args, place, args.recon_scale * factor_of(args.grad));
  for_each_tile(place, args.samples * args.rows, args.plan.tiles, rows);
  // Read after the loop: registers are dear in it.
  const double beta = args.beta * factor_of(args.beta_factor), factor = factor_of(args.grad);
  // From the last thread on: the first ones may have a tile more than the others.
  const int64_t threads = int64_t(gridDim.x) * block_threads;
  const int64_t worker = threads - 1 - (int64_t(blockIdx.x) * block_threads + threadIdx.x);
  const double kl = latent_terms<typename Row::T>(args, beta * args.kl_scale * factor, worker, threads);
  if (!args.shared.partial) return;

  double sums[3] = {rows.sum, kl, rows.logvar_sum};
  block_sums(sums);
  if (!sums_of_blocks(sums, args.shared.partial, ticket_of(args.shared, 0), blockIdx.x, gridDim.x)) return;
  if (threadIdx.x != 0) return;
  if (args.loss.data) write_loss<Row>(args, 0, args.rows, sums[0], sums[1], beta);
  if (args.grad_shared_logvar.data) set_element<double>(args.grad_shared_logvar, 0, 0, sums[2]);
}

// One result for each row of the batch.
template <class Row>
__global__ void __launch_bounds__(block_threads, Row::resident_by_row)
    elbo_by_row(const __grid_constant__ ElboArgs args) {
  using T = typename Row::T;
  const double beta = args.beta * factor_of(args.beta_factor);
  const Place place(args.plan.lanes);
  Row rows(args, place, 1.0);
  const int64_t splits = args.plan.splits, tiles = args.plan.tiles, work = args.rows * splits;
  // All groups of a block run this loop equally often: the sums below need every thread.
  for (int64_t base = int64_t(blockIdx.x) * (block_threads / place.lanes); base < work;
       base += place.groups()) {
    const int64_t item = base + static_cast<int>(threadIdx.x) / place.lanes;
    const int64_t row = splits == 1 ? item : item / splits, split = item - row * splits;
    rows.sum = 0;
    double kl = 0;
    if (item < work) {
      VAE_FAST_NO_UNROLL
      for (int64_t s = 0; s < args.samples; ++s) {
        // Samples times tiles are dealt to the splits in turn.
        int64_t tile = splits == 1 ? 0 : ((split - s * tiles) % splits + splits) % splits;
        if (tile < tiles) rows.set_row(s * args.rows + row);
        VAE_FAST_NO_UNROLL
        for (; tile < tiles; tile += splits) rows.tile(static_cast<int>(tile));
      }
      if (split == 0) {
        if (args.kl.data && place.lane == 0) kl = number_of(args.kl, row);
        if (args.mu.data) VAE_FAST_NO_UNROLL
        for (int64_t j = place.lane; j < args.latents; j += place.lanes)
          kl += portable::kl_standard(element_of<T>(args.mu, row, j),
                                      element_of<T>(args.latent_logvar, row, j));
      }
    }
    double sums[2] = {rows.sum, kl};
    group_sums(sums, place.lanes);
    if (splits > 1 && !sums_of_blocks(sums, args.shared.partial + row * splits * 2,
                                      ticket_of(args.shared, row), split, splits))
      continue;
    if (item < work && place.lane == 0) write_loss<Row>(args, row, 1, sums[0], sums[1], beta);
  }
}

}  // namespace cuda
}  // namespace vae_fast
