// KL of diagonal Gaussians to N(0, 1) or to another diagonal Gaussian: parameters are read once, and sums,
// elements and gradients are written in the same pass.
#pragma once

#include "../math/gaussian_kl.h"
#include "reduce.cuh"
#include "rows.cuh"

namespace vae_fast {
namespace cuda {

// Value and gradients of one element; what nobody reads is not computed.
template <bool with_prior, class T>
__device__ __forceinline__ portable::KLGeneral<T> kl_term(T mu, T logvar, T prior_mu, T prior_logvar) {
  if (with_prior) return portable::kl_general(mu, logvar, prior_mu, prior_logvar);
  return {portable::kl_standard(mu, logvar), mu, portable::kl_standard_dlogvar(logvar), T(0), T(0)};
}

// What all gradients are multiplied with.
__device__ __forceinline__ double grad_scale_of(const KlArgs& args) {
  return args.scale * factor_of(args.grad);
}

// One row in packets: everything of type P, elements of values float.
template <class P, bool with_prior, bool with_grad>
struct KlPackets {
  using T = typename Storage<P>::compute;
  static constexpr int E = kl_packet_of(Storage<P>::dtype);
  static constexpr int resident = packet_blocks, resident_by_row = packet_blocks;

  const KlArgs& args;
  const Place& place;
  T scale;
  int64_t row = 0;
  int shift = 0;
  T tile_sum = T(0);
  double sum = 0;

  __device__ __forceinline__ KlPackets(const KlArgs& a, const Place& p, double grad_scale)
      : args(a), place(p), scale(static_cast<T>(grad_scale)) {}

  template <class Q>
  static __device__ __forceinline__ Q* at(const Operand& a, int64_t row, int64_t i) {
    return static_cast<Q*>(a.data) + row * a.row_stride + i;
  }

  __device__ __forceinline__ void set_row(int64_t index) {
    row = index;
    shift = shift_of<E>(at<P>(args.mu, row, 0));
    if (with_grad && args.grad_out.data)
      scale = static_cast<T>(grad_scale_of(args)) * static_cast<T>(number_of(args.grad_out, row));
  }

  __device__ __forceinline__ void tile(int64_t index) {
    tile_sum = T(0);
    walk_packets<E, 1>(place, args.cols, index, shift, *this);
    sum += tile_sum;
  }

  __device__ __forceinline__ void packets(const int64_t (&start)[1], const bool (&whole)[1]) {
    if (!whole[0]) return;
    const int64_t i0 = start[0];
    const Packet<P, E> m = Packet<P, E>::load(at<P>(args.mu, row, i0));
    const Packet<P, E> v = Packet<P, E>::load(at<P>(args.logvar, row, i0));
    Packet<P, E> pm, pv;
    if (with_prior) {
      pm = Packet<P, E>::load(at<P>(args.prior_mu, row, i0));
      pv = Packet<P, E>::load(at<P>(args.prior_logvar, row, i0));
    }
    T value[E], dmu[E], dlogvar[E], dprior_mu[E], dprior_logvar[E];
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i) {
      const portable::KLGeneral<T> e =
          kl_term<with_prior>(value_of(m, i), value_of(v, i), with_prior ? value_of(pm, i) : T(0),
                              with_prior ? value_of(pv, i) : T(0));
      value[i] = e.value;
      if (!with_grad) tile_sum += e.value;
      dmu[i] = scale * e.dmu;
      dlogvar[i] = scale * e.dlogvar;
      dprior_mu[i] = scale * e.dprior_mu;
      dprior_logvar[i] = scale * e.dprior_logvar;
    }
    if (!with_grad) {
      if (args.values.data) store_packet<T, E>(at<T>(args.values, row, i0), value);
      return;
    }
    if (args.grad_mu.data) store_packet<P, E>(at<P>(args.grad_mu, row, i0), dmu);
    if (args.grad_logvar.data) store_packet<P, E>(at<P>(args.grad_logvar, row, i0), dlogvar);
    if (!with_prior) return;
    if (args.grad_prior_mu.data) store_packet<P, E>(at<P>(args.grad_prior_mu, row, i0), dprior_mu);
    if (args.grad_prior_logvar.data)
      store_packet<P, E>(at<P>(args.grad_prior_logvar, row, i0), dprior_logvar);
  }

  __device__ __forceinline__ void element(int64_t i) {
    const portable::KLGeneral<T> e =
        kl_term<with_prior>(value_of(*at<P>(args.mu, row, i)), value_of(*at<P>(args.logvar, row, i)),
                            with_prior ? value_of(*at<P>(args.prior_mu, row, i)) : T(0),
                            with_prior ? value_of(*at<P>(args.prior_logvar, row, i)) : T(0));
    if (!with_grad) {
      tile_sum += e.value;
      if (args.values.data) *at<T>(args.values, row, i) = e.value;
      return;
    }
    if (args.grad_mu.data) set(*at<P>(args.grad_mu, row, i), scale * e.dmu);
    if (args.grad_logvar.data) set(*at<P>(args.grad_logvar, row, i), scale * e.dlogvar);
    if (!with_prior) return;
    if (args.grad_prior_mu.data) set(*at<P>(args.grad_prior_mu, row, i), scale * e.dprior_mu);
    if (args.grad_prior_logvar.data) set(*at<P>(args.grad_prior_logvar, row, i), scale * e.dprior_logvar);
  }
};

// One row element by element: any dtypes, strides and alignment, and priors of which one is absent.
template <class Compute, bool with_prior, bool with_grad>
struct KlElements {
  using T = Compute;
  static constexpr int resident = element_blocks<T>, resident_by_row = 2;

  const KlArgs& args;
  const Place& place;
  T factor;
  int64_t row = 0;
  T tile_sum = T(0);
  double sum = 0;

  __device__ __forceinline__ KlElements(const KlArgs& a, const Place& p, double grad_scale)
      : args(a), place(p), factor(static_cast<T>(grad_scale)) {}

  __device__ __forceinline__ void set_row(int64_t index) { row = index; }

  __device__ __forceinline__ void tile(int64_t index) {
    tile_sum = T(0);
    walk_elements(place, args.cols, index, args.plan.elements, *this);
    sum += tile_sum;
  }

  __device__ __forceinline__ void element(int64_t i) {
    const portable::KLGeneral<T> e = kl_term<with_prior, T>(
        element_of<T>(args.mu, row, i), element_of<T>(args.logvar, row, i),
        element_or<T>(args.prior_mu, row, i, T(0)), element_or<T>(args.prior_logvar, row, i, T(0)));
    if (!with_grad) {
      tile_sum += e.value;
      if (args.values.data) set_element<T>(args.values, row, i, e.value);
      return;
    }
    const T scale = factor * element_or<T>(args.grad_out, row, i, T(1));
    if (args.grad_mu.data) set_element<T>(args.grad_mu, row, i, scale * e.dmu);
    if (args.grad_logvar.data) set_element<T>(args.grad_logvar, row, i, scale * e.dlogvar);
    if (args.grad_prior_mu.data) set_element<T>(args.grad_prior_mu, row, i, scale * e.dprior_mu);
    if (args.grad_prior_logvar.data) set_element<T>(args.grad_prior_logvar, row, i, scale * e.dprior_logvar);
  }
};

// Values: one result, or elements.
template <class Row>
__global__ void __launch_bounds__(block_threads, Row::resident)
    kl_pooled(const __grid_constant__ KlArgs args) {
  const Place place(args.plan.lanes);
  Row rows(args, place, 1.0);
  for_each_tile(place, args.batch, args.plan.tiles, rows);
  if (!args.shared.partial) return;
  double sums[1] = {rows.sum};
  block_sums(sums);
  if (sums_of_blocks(sums, args.shared.partial, ticket_of(args.shared, 0), blockIdx.x, gridDim.x) &&
      threadIdx.x == 0)
    set_element<double>(args.result, 0, 0, sums[0] * args.scale);
}

// Values: one result for each row.
template <class Row>
__global__ void __launch_bounds__(block_threads, Row::resident_by_row)
    kl_by_row(const __grid_constant__ KlArgs args) {
  const Place place(args.plan.lanes);
  Row rows(args, place, 1.0);
  const int64_t splits = args.plan.splits, work = args.batch * splits;
  // All groups of a block run this loop equally often: the sums below need every thread.
  for (int64_t base = int64_t(blockIdx.x) * (block_threads / place.lanes); base < work;
       base += place.groups()) {
    const int64_t item = base + static_cast<int>(threadIdx.x) / place.lanes;
    const int64_t row = item / splits, split = item % splits;
    rows.sum = 0;
    if (item < work) {
      rows.set_row(row);
      VAE_FAST_NO_UNROLL
      for (int64_t tile = split; tile < args.plan.tiles; tile += splits) rows.tile(tile);
    }
    double sums[1] = {rows.sum};
    group_sums(sums, place.lanes);
    if (splits > 1 &&
        !sums_of_blocks(sums, args.shared.partial + row * splits, ticket_of(args.shared, row), split, splits))
      continue;
    if (item < work && place.lane == 0) set_element<double>(args.result, row, 0, sums[0]);
  }
}

template <class Row>
__global__ void __launch_bounds__(block_threads, Row::resident)
    kl_backward(const __grid_constant__ KlArgs args) {
  const Place place(args.plan.lanes);
  Row rows(args, place, grad_scale_of(args));
  for_each_tile(place, args.batch, args.plan.tiles, rows);
}

}  // namespace cuda
}  // namespace vae_fast
