// KL of diagonal Gaussians to N(0, 1) or to another diagonal Gaussian: parameters are read once, and sums,
// elements and gradients are written in the same pass.
#pragma once

#include "../math/gaussian_kl.h"
#include "reduce.cuh"
#include "rows.cuh"

namespace vae_fast {
namespace cuda {

template <class P, bool with_prior, bool with_grad>
struct KlRow {
  using T = typename Storage<P>::compute;
  static constexpr int E = packet_of(Storage<P>::dtype);
  static constexpr int U = packets_in_flight;

  const KlArgs& args;
  const Place& place;
  T scale;
  Source<T, E> mu, logvar, prior_mu, prior_logvar, grad_out;
  Sink<T, E> values, grad_mu, grad_logvar, grad_prior_mu, grad_prior_logvar;
  int shift = 0;
  bool aligned = false;
  T tile_sum = T(0);
  double sum = 0;

  __device__ __forceinline__ KlRow(const KlArgs& a, const Place& p, double factor)
      : args(a),
        place(p),
        scale(static_cast<T>(factor)),
        mu(a.mu, T(0)),
        logvar(a.logvar, T(0)),
        prior_mu(a.prior_mu, T(0)),
        prior_logvar(a.prior_logvar, T(0)),
        grad_out(a.grad_out, T(1)),
        values(a.values),
        grad_mu(a.grad_mu),
        grad_logvar(a.grad_logvar),
        grad_prior_mu(a.grad_prior_mu),
        grad_prior_logvar(a.grad_prior_logvar) {
    mu.dtype = logvar.dtype = grad_mu.dtype = grad_logvar.dtype = Storage<P>::dtype;
  }

  __device__ __forceinline__ void set_row(int64_t row) {
    mu.set_row(args.mu, row);
    logvar.set_row(args.logvar, row);
    values.set_row(args.values, row);
    const char* leader = mu.row;
    if (with_grad) {
      grad_out.set_row(args.grad_out, row);
      grad_mu.set_row(args.grad_mu, row);
      grad_logvar.set_row(args.grad_logvar, row);
      leader = grad_mu.row ? grad_mu.row : grad_logvar.row ? grad_logvar.row : mu.row;
    }
    shift = leader ? shift_of<E>(leader, Storage<P>::dtype) : 0;
    aligned = mu.aligned(shift) && logvar.aligned(shift) && values.aligned(shift) &&
              (!with_grad || (grad_out.aligned(shift) && grad_mu.aligned(shift) && grad_logvar.aligned(shift)));
    if (!with_prior) return;
    prior_mu.set_row(args.prior_mu, row);
    prior_logvar.set_row(args.prior_logvar, row);
    aligned = aligned && prior_mu.aligned(shift) && prior_logvar.aligned(shift);
    if (!with_grad) return;
    grad_prior_mu.set_row(args.grad_prior_mu, row);
    grad_prior_logvar.set_row(args.grad_prior_logvar, row);
    aligned = aligned && grad_prior_mu.aligned(shift) && grad_prior_logvar.aligned(shift);
  }

  __device__ __forceinline__ void tile(int64_t index) {
    tile_sum = T(0);
    walk_tile<E, U>(place, args.cols, index, shift, aligned, *this);
    sum += tile_sum;
  }

  // Value and gradients of one element; what nobody reads is not computed.
  __device__ __forceinline__ portable::KLGeneral<T> term(T m, T v, T pm, T pv) const {
    if (with_prior) return portable::kl_general(m, v, pm, pv);
    return {portable::kl_standard(m, v), m, portable::kl_standard_dlogvar(v), T(0), T(0)};
  }

  __device__ __forceinline__ void packets(const int64_t (&start)[U], const bool (&whole)[U]) {
    Raw<T, E> raw_mu[U], raw_logvar[U];
    VAE_FAST_UNROLL
    for (int u = 0; u < U; ++u) {
      if (!whole[u]) continue;
      raw_mu[u] = mu.load(start[u]);
      raw_logvar[u] = logvar.load(start[u]);
    }
    VAE_FAST_UNROLL
    for (int u = 0; u < U; ++u)
      if (whole[u]) packet(start[u], raw_mu[u], raw_logvar[u]);
  }

  __device__ __forceinline__ void packet(int64_t start, const Raw<T, E>& raw_mu, const Raw<T, E>& raw_logvar) {
    T m[E], v[E], pm[E], pv[E];
    mu.values(raw_mu, m);
    logvar.values(raw_logvar, v);
    if (with_prior) {
      prior_mu.values(start, pm);
      prior_logvar.values(start, pv);
    }
    if (!with_grad) {
      VAE_FAST_UNROLL
      for (int i = 0; i < E; ++i) {
        m[i] = term(m[i], v[i], with_prior ? pm[i] : T(0), with_prior ? pv[i] : T(0)).value;
        tile_sum += m[i];
      }
      values.packet(start, m);
      return;
    }
    T g[E];
    grad_out.values(start, g);
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i) {
      const portable::KLGeneral<T> e = term(m[i], v[i], with_prior ? pm[i] : T(0), with_prior ? pv[i] : T(0));
      const T factor = g[i] * scale;
      m[i] = factor * e.dmu;
      v[i] = factor * e.dlogvar;
      pm[i] = factor * e.dprior_mu;
      pv[i] = factor * e.dprior_logvar;
    }
    grad_mu.packet(start, m);
    grad_logvar.packet(start, v);
    if (with_prior) {
      grad_prior_mu.packet(start, pm);
      grad_prior_logvar.packet(start, pv);
    }
  }

  __device__ __forceinline__ void element(int64_t i) {
    const portable::KLGeneral<T> e =
        term(mu.element(i), logvar.element(i), with_prior ? prior_mu.element(i) : T(0),
             with_prior ? prior_logvar.element(i) : T(0));
    if (!with_grad) {
      tile_sum += e.value;
      values.element(i, e.value);
      return;
    }
    const T factor = grad_out.element(i) * scale;
    grad_mu.element(i, factor * e.dmu);
    grad_logvar.element(i, factor * e.dlogvar);
    if (!with_prior) return;
    grad_prior_mu.element(i, factor * e.dprior_mu);
    grad_prior_logvar.element(i, factor * e.dprior_logvar);
  }
};

// Values: one result, or elements.
template <class P, bool with_prior>
__global__ void __launch_bounds__(block_threads, blocks_per_processor) kl_pooled(const KlArgs args) {
  const Place place(args.plan.lanes);
  KlRow<P, with_prior, false> rows(args, place, 1.0);
  for_each_tile(place, args.batch, args.plan.tiles, rows);
  if (!args.shared.partial) return;
  double sums[1] = {rows.sum};
  block_sums(sums);
  if (sums_of_blocks(sums, args.shared.partial, args.shared.tickets, blockIdx.x, gridDim.x) &&
      threadIdx.x == 0)
    set_element<double>(args.result, 0, 0, sums[0] * args.scale);
}

// Values: one result for each row.
template <class P, bool with_prior>
__global__ void __launch_bounds__(block_threads, blocks_per_processor) kl_by_row(const KlArgs args) {
  const Place place(args.plan.lanes);
  KlRow<P, with_prior, false> rows(args, place, 1.0);
  const int64_t splits = args.plan.splits, work = args.batch * splits;
  // All groups of a block run this loop equally often: the sums below need every thread.
  for (int64_t base = int64_t(blockIdx.x) * block_threads / place.lanes; base < work; base += place.groups) {
    const int64_t item = base + static_cast<int>(threadIdx.x) / place.lanes;
    const int64_t row = item / splits, split = item % splits;
    rows.sum = 0;
    if (item < work) {
      rows.set_row(row);
      for (int64_t tile = split; tile < args.plan.tiles; tile += splits) rows.tile(tile);
    }
    double sums[1] = {rows.sum};
    group_sums(sums, place.lanes);
    if (splits > 1 && !sums_of_blocks(sums, args.shared.partial + row * splits, args.shared.tickets + row,
                                      split, splits))
      continue;
    if (item < work && place.lane == 0) set_element<double>(args.result, row, 0, sums[0]);
  }
}

template <class P, bool with_prior>
__global__ void __launch_bounds__(block_threads, blocks_per_processor) kl_backward(const KlArgs args) {
  const double factor = args.grad.data ? element_of<double>(args.grad, 0, 0) : 1.0;
  const Place place(args.plan.lanes);
  KlRow<P, with_prior, true> rows(args, place, args.scale * factor);
  for_each_tile(place, args.batch, args.plan.tiles, rows);
}

template <class P, bool with_prior>
inline const char* launch_kl(const KlArgs& args, void* stream) {
  const int64_t blocks = args.plan.blocks;
  if (args.per_row) return launch(kl_by_row<P, with_prior>, blocks, block_threads, stream, args);
  if (args.result.data || args.values.data)
    return launch(kl_pooled<P, with_prior>, blocks, block_threads, stream, args);
  return launch(kl_backward<P, with_prior>, blocks, block_threads, stream, args);
}

}  // namespace cuda
}  // namespace vae_fast
