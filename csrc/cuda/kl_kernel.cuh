// KL of diagonal Gaussians to N(0, 1) or to another diagonal Gaussian: parameters are read once, and sums,
// elements and gradients are written in the same pass.
#pragma once

#include "../math/gaussian_kl.h"
#include "reduce.cuh"
#include "rows.cuh"

namespace vae_fast {
namespace cuda {

// Value and gradients of one element.
template <class T>
__device__ __forceinline__ portable::KLGeneral<T> kl_term(bool with_prior, T mu, T logvar, T prior_mu,
                                                          T prior_logvar) {
  if (with_prior) return portable::kl_general(mu, logvar, prior_mu, prior_logvar);
  return {portable::kl_standard(mu, logvar), mu, portable::kl_standard_dlogvar(logvar), T(0), T(0)};
}

// One row in packets: everything of type P, elements of values float. Whether there is a prior, and whether
// values or gradients are wanted, is the same for the whole launch.
template <class P>
struct KlPackets {
  using T = typename Storage<P>::compute;
  static constexpr int E = kl_packet_of(Storage<P>::dtype);
  static constexpr int resident = packet_blocks;

  const KlArgs& args;
  const Place& place;
  T row_scale;
  int64_t row = 0;
  int shift = 0;
  T tile_sum = T(0);
  double sum = 0;

  __device__ __forceinline__ KlPackets(const KlArgs& a, const Place& p)
      : args(a), place(p), row_scale(static_cast<T>(a.scale * factor_of(a.grad))) {}

  template <class Q>
  static __device__ __forceinline__ Q* at(const Operand& a, int64_t row, int64_t i) {
    return static_cast<Q*>(a.data) + row * a.row_stride + i;
  }

  __device__ __forceinline__ void set_row(int64_t index) {
    row = index;
    shift = shift_of<E>(at<P>(args.mu, row, 0));
    if (args.grad_out.data)  // there is no other factor then
      row_scale = static_cast<T>(args.scale) * static_cast<T>(number_of(args.grad_out, row));
  }

  __device__ __forceinline__ void tile(int64_t index) {
    tile_sum = T(0);
    walk_packets<E, 1>(place, args.cols, index, shift, *this);
    sum += tile_sum;
  }

  __device__ __forceinline__ void packets(const int64_t (&start)[1], const bool (&whole)[1]) {
    if (!whole[0]) return;
    if (args.with_prior)
      packet<true>(start[0]);
    else
      packet<false>(start[0]);
  }

  template <bool with_prior>
  __device__ __forceinline__ void packet(int64_t start) {
    const Packet<P, E> m = Packet<P, E>::load(at<P>(args.mu, row, start));
    const Packet<P, E> v = Packet<P, E>::load(at<P>(args.logvar, row, start));
    Packet<P, E> pm, pv;
    if (with_prior) {
      pm = Packet<P, E>::load(at<P>(args.prior_mu, row, start));
      pv = Packet<P, E>::load(at<P>(args.prior_logvar, row, start));
    }
    T value[E], dmu[E], dlogvar[E], dprior_mu[E], dprior_logvar[E];
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i) {
      const portable::KLGeneral<T> e =
          kl_term(with_prior, value_of(m, i), value_of(v, i), with_prior ? value_of(pm, i) : T(0),
                  with_prior ? value_of(pv, i) : T(0));
      value[i] = e.value;
      dmu[i] = row_scale * e.dmu;
      dlogvar[i] = row_scale * e.dlogvar;
      dprior_mu[i] = row_scale * e.dprior_mu;
      dprior_logvar[i] = row_scale * e.dprior_logvar;
    }
    if (!args.with_grad) {
      VAE_FAST_UNROLL
      for (int i = 0; i < E; ++i) tile_sum += value[i];
      if (args.values.data) store_packet<T, E>(at<T>(args.values, row, start), value);
      return;
    }
    if (args.grad_mu.data) store_packet<P, E>(at<P>(args.grad_mu, row, start), dmu);
    if (args.grad_logvar.data) store_packet<P, E>(at<P>(args.grad_logvar, row, start), dlogvar);
    if (!with_prior) return;
    if (args.grad_prior_mu.data) store_packet<P, E>(at<P>(args.grad_prior_mu, row, start), dprior_mu);
    if (args.grad_prior_logvar.data)
      store_packet<P, E>(at<P>(args.grad_prior_logvar, row, start), dprior_logvar);
  }

  __device__ __forceinline__ void element(int64_t i) {
    const bool prior = args.with_prior;
    const portable::KLGeneral<T> e =
        kl_term(prior, value_of(*at<P>(args.mu, row, i)), value_of(*at<P>(args.logvar, row, i)),
                prior ? value_of(*at<P>(args.prior_mu, row, i)) : T(0),
                prior ? value_of(*at<P>(args.prior_logvar, row, i)) : T(0));
    if (!args.with_grad) {
      tile_sum += e.value;
      if (args.values.data) *at<T>(args.values, row, i) = e.value;
      return;
    }
    if (args.grad_mu.data) set(*at<P>(args.grad_mu, row, i), row_scale * e.dmu);
    if (args.grad_logvar.data) set(*at<P>(args.grad_logvar, row, i), row_scale * e.dlogvar);
    if (args.grad_prior_mu.data) set(*at<P>(args.grad_prior_mu, row, i), row_scale * e.dprior_mu);
    if (args.grad_prior_logvar.data) set(*at<P>(args.grad_prior_logvar, row, i), row_scale * e.dprior_logvar);
  }
};

// Writes what is wanted of one element and returns its value. A function of its own, apart from the registers
// of the loop over rows.
template <class T>
__device__ VAE_FAST_NOINLINE T kl_element(const KlArgs& args, T factor, int64_t row, int64_t i) {
  const portable::KLGeneral<T> e = portable::kl_general(
      element_of<T>(args.mu, row, i), element_of<T>(args.logvar, row, i),
      element_or<T>(args.prior_mu, row, i, T(0)), element_or<T>(args.prior_logvar, row, i, T(0)));
  if (args.values.data) set_element<T>(args.values, row, i, e.value);
  if (!args.with_grad) return e.value;
  const T scale = factor * element_or<T>(args.grad_out, row, i, T(1));
  if (args.grad_mu.data) set_element<T>(args.grad_mu, row, i, scale * e.dmu);
  if (args.grad_logvar.data) set_element<T>(args.grad_logvar, row, i, scale * e.dlogvar);
  if (args.grad_prior_mu.data) set_element<T>(args.grad_prior_mu, row, i, scale * e.dprior_mu);
  if (args.grad_prior_logvar.data) set_element<T>(args.grad_prior_logvar, row, i, scale * e.dprior_logvar);
  return e.value;
}

// One row element by element: any dtypes, strides and alignment, and priors of which one is absent.
template <class Compute>
struct KlElements {
  using T = Compute;
  static constexpr int resident = element_blocks<T>;

  const KlArgs& args;
  const Place& place;
  const T factor;
  int64_t row = 0;
  T tile_sum = T(0);
  double sum = 0;

  __device__ __forceinline__ KlElements(const KlArgs& a, const Place& p)
      : args(a), place(p), factor(static_cast<T>(a.scale * factor_of(a.grad))) {}

  __device__ __forceinline__ void set_row(int64_t index) { row = index; }

  __device__ __forceinline__ void tile(int64_t index) {
    tile_sum = T(0);
    walk_elements(place, args.cols, index, args.plan.elements, *this);
    sum += tile_sum;
  }

  __device__ __forceinline__ void element(int64_t i) { tile_sum += kl_element(args, factor, row, i); }
};

// One result for each row, or one, or elements, or gradients.
template <class Row>
__global__ void __launch_bounds__(block_threads, Row::resident)
    kl_kernel(const __grid_constant__ KlArgs args) {
  const Place place(args.plan.lanes);
  Row rows(args, place);
  const bool per_row = args.per_row;
  const int64_t tiles = args.plan.tiles;
  for_each_result<1>(
      args.plan, per_row, args.batch, args.shared,
      [&](int64_t row, int64_t split, double (&sums)[1]) {
        rows.sum = 0;
        for_each_tile(per_row ? Share::of_result(args.plan, split, row, args.batch, 1)
                              : Share::of_all(place, args.batch, tiles),
                      tiles, rows);
        sums[0] = rows.sum;
      },
      [&](int64_t row, const double (&sums)[1]) {
        set_element<double>(args.result, row, 0, per_row ? sums[0] : sums[0] * args.scale);
      });
}

}  // namespace cuda
}  // namespace vae_fast
