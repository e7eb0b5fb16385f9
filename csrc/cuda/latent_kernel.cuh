// Kernels of the latent layer. Sampling and KL: mu and logvar are read once, z is written, no noise is
// kept; the backward draws the same noise again from the seed.
#pragma once

#include "../math/gaussian_kl.h"
#include "../math/normal.h"
#include "reduce.cuh"
#include "rows.cuh"

namespace vae_fast {
namespace cuda {

// Noise of E elements from `element` on, a multiple of four.
template <class T, int E>
__device__ __forceinline__ void normals(uint64_t seed, int64_t element, T (&out)[E]) {
  VAE_FAST_UNROLL
  for (int k = 0; k < E / 4; ++k) {
    const portable::Normal4 four =
        portable::normal4(seed, (static_cast<uint64_t>(element) >> 2) + static_cast<uint64_t>(k), 0);
    out[4 * k] = four.lane0;
    out[4 * k + 1] = four.lane1;
    out[4 * k + 2] = four.lane2;
    out[4 * k + 3] = four.lane3;
  }
}

template <class T>
__device__ __forceinline__ T normal(uint64_t seed, int64_t element) {
  const portable::Normal4 four = portable::normal4(seed, static_cast<uint64_t>(element) >> 2, 0);
  const int lane = static_cast<int>(element & 3);
  return lane == 0 ? four.lane0 : lane == 1 ? four.lane1 : lane == 2 ? four.lane2 : four.lane3;
}

// One row of mu and logvar, for a group's share of its draws.
template <class P>
struct SampleRow {
  using T = typename Storage<P>::compute;
  static constexpr int E = noise_packet_of(Storage<P>::dtype);
  static constexpr int U = packets_in_flight;

  const SampleArgs& args;
  const Place& place;
  uint64_t seed;
  Source<T, E> mu, logvar, eps;
  Sink<T, E> z;
  int64_t draw_stride, element_of_row = 0, first_draw = 0;
  int shift = 0;
  bool aligned = false, with_kl = false;
  T tile_sum = T(0);
  double sum = 0;

  __device__ __forceinline__ SampleRow(const SampleArgs& a, const Place& p)
      : args(a),
        place(p),
        seed(a.seed ? static_cast<uint64_t>(*a.seed) : 0),
        mu(a.mu, T(0)),
        logvar(a.logvar, T(0)),
        eps(a.eps, T(0)),
        z(a.z),
        draw_stride(a.batch * a.cols) {
    mu.dtype = logvar.dtype = z.dtype = Storage<P>::dtype;
  }

  __device__ __forceinline__ void set_row(int64_t row, int64_t draw) {
    element_of_row = row * args.cols;
    first_draw = draw;
    with_kl = args.kl.data && draw == 0;
    mu.set_row(args.mu, row);
    logvar.set_row(args.logvar, row);
    eps.set_row(args.eps, row);
    z.set_row(args.z, row);
    // Packets are groups of the noise, in every draw.
    shift = static_cast<int>(element_of_row % E);
    aligned = (args.samples == 1 || draw_stride % E == 0) && mu.aligned(shift) && logvar.aligned(shift) &&
              eps.aligned(shift) && z.aligned(shift);
  }

  __device__ __forceinline__ void tile(int64_t index) {
    tile_sum = T(0);
    walk_tile<E, U>(place, args.cols, index, shift, aligned, *this);
    sum += tile_sum;
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
    T m[E], v[E];
    mu.values(raw_mu, m);
    logvar.values(raw_logvar, v);
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i) {
      if (with_kl) tile_sum += portable::kl_standard(m[i], v[i]);
      v[i] = portable::exponential(T(0.5) * v[i]);
    }
    for (int64_t draw = first_draw; draw < args.samples; draw += args.draw_groups) {
      const int64_t offset = draw * draw_stride + start;
      T noise[E];
      if (args.eps.data)
        eps.values(offset, noise);
      else
        normals<T, E>(seed, element_of_row + offset, noise);
      VAE_FAST_UNROLL
      for (int i = 0; i < E; ++i) noise[i] = m[i] + v[i] * noise[i];
      z.packet(offset, noise);
    }
  }

  __device__ __forceinline__ void element(int64_t i) {
    const T m = mu.element(i), v = logvar.element(i);
    if (with_kl) tile_sum += portable::kl_standard(m, v);
    const T deviation = portable::exponential(T(0.5) * v);
    for (int64_t draw = first_draw; draw < args.samples; draw += args.draw_groups) {
      const int64_t offset = draw * draw_stride + i;
      const T noise = args.eps.data ? eps.element(offset) : normal<T>(seed, element_of_row + offset);
      z.element(offset, m + deviation * noise);
    }
  }
};

template <class P>
__global__ void __launch_bounds__(block_threads, blocks_per_processor) sample_kernel(const SampleArgs args) {
  const Place place(args.plan.lanes);
  SampleRow<P> rows(args, place);
  const int64_t splits = args.plan.splits, draws = args.draw_groups, work = args.batch * draws * splits;
  // All groups of a block run this loop equally often: the sums below need every thread.
  for (int64_t base = int64_t(blockIdx.x) * block_threads / place.lanes; base < work; base += place.groups) {
    const int64_t item = base + static_cast<int>(threadIdx.x) / place.lanes;
    const int64_t split = item % splits, draw = item / splits % draws, row = item / splits / draws;
    rows.sum = 0;
    if (item < work) {
      rows.set_row(row, draw);
      for (int64_t tile = split; tile < args.plan.tiles; tile += splits) rows.tile(tile);
    }
    if (!args.kl.data) continue;
    double sums[1] = {rows.sum};
    group_sums(sums, place.lanes);
    // More than one split: the group is the block, and all of its threads agree on the draw.
    if (splits > 1 && (draw != 0 || !sums_of_blocks(sums, args.shared.partial + row * splits,
                                                    args.shared.tickets + row, split, splits)))
      continue;
    if (item < work && draw == 0 && place.lane == 0) set_element<double>(args.kl, row, 0, sums[0]);
  }
}

// One row of the gradients of mu and logvar, summed over all draws.
template <class P>
struct SampleBackwardRow {
  using T = typename Storage<P>::compute;
  static constexpr int E = noise_packet_of(Storage<P>::dtype);
  static constexpr int U = 1;

  const SampleBackwardArgs& args;
  const Place& place;
  uint64_t seed;
  Source<T, E> mu, logvar, eps, grad_z, grad_kl;
  Sink<T, E> grad_mu, grad_logvar;
  int64_t row = 0, draw_stride, element_of_row = 0;
  int shift = 0;
  bool aligned = false;

  __device__ __forceinline__ SampleBackwardRow(const SampleBackwardArgs& a, const Place& p)
      : args(a),
        place(p),
        seed(a.seed ? static_cast<uint64_t>(*a.seed) : 0),
        mu(a.mu, T(0)),
        logvar(a.logvar, T(0)),
        eps(a.eps, T(0)),
        grad_z(a.grad_z, T(0)),
        grad_kl(a.grad_kl, T(0)),
        grad_mu(a.grad_mu),
        grad_logvar(a.grad_logvar),
        draw_stride(a.batch * a.cols) {
    mu.dtype = logvar.dtype = grad_mu.dtype = grad_logvar.dtype = Storage<P>::dtype;
  }

  __device__ __forceinline__ void set_row(int64_t index) {
    row = index;
    element_of_row = row * args.cols;
    mu.set_row(args.mu, row);
    logvar.set_row(args.logvar, row);
    eps.set_row(args.eps, row);
    grad_kl.set_row(args.grad_kl, row);
    grad_mu.set_row(args.grad_mu, row);
    grad_logvar.set_row(args.grad_logvar, row);
    shift = static_cast<int>(element_of_row % E);
    aligned = mu.aligned(shift) && logvar.aligned(shift) && eps.aligned(shift) && grad_mu.aligned(shift) &&
              grad_logvar.aligned(shift);
    // Two draws that are aligned prove that all are.
    for (int64_t draw = 0; draw < 2 && draw < args.samples; ++draw) {
      grad_z.set_row(args.grad_z, draw * args.batch + row);
      aligned = aligned && grad_z.aligned(shift);
    }
    aligned = aligned && (args.samples <= 1 || draw_stride % E == 0);
  }

  __device__ __forceinline__ void tile(int64_t index) {
    walk_tile<E, U>(place, args.cols, index, shift, aligned, *this);
  }

  __device__ __forceinline__ void packets(const int64_t (&start)[U], const bool (&whole)[U]) {
    if (!whole[0]) return;
    T v[E], by_mu[E], by_logvar[E];
    logvar.values(start[0], v);
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i) by_mu[i] = by_logvar[i] = T(0);
    if (args.grad_z.data) {
      for (int64_t draw = 0; draw < args.samples; ++draw) {
        T g[E], noise[E];
        grad_z.set_row(args.grad_z, draw * args.batch + row);
        grad_z.values(start[0], g);
        const int64_t offset = draw * draw_stride + start[0];
        if (args.eps.data)
          eps.values(offset, noise);
        else
          normals<T, E>(seed, element_of_row + offset, noise);
        VAE_FAST_UNROLL
        for (int i = 0; i < E; ++i) {
          by_mu[i] += g[i];
          by_logvar[i] += g[i] * noise[i];
        }
      }
      VAE_FAST_UNROLL
      for (int i = 0; i < E; ++i) by_logvar[i] *= T(0.5) * portable::exponential(T(0.5) * v[i]);
    }
    if (args.grad_kl.data) {
      T m[E];
      mu.values(start[0], m);
      const T g = grad_kl.element(0);
      VAE_FAST_UNROLL
      for (int i = 0; i < E; ++i) {
        by_mu[i] += g * m[i];
        by_logvar[i] += g * portable::kl_standard_dlogvar(v[i]);
      }
    }
    grad_mu.packet(start[0], by_mu);
    grad_logvar.packet(start[0], by_logvar);
  }

  __device__ __forceinline__ void element(int64_t i) {
    const T v = logvar.element(i);
    T by_mu = T(0), by_logvar = T(0);
    if (args.grad_z.data) {
      for (int64_t draw = 0; draw < args.samples; ++draw) {
        grad_z.set_row(args.grad_z, draw * args.batch + row);
        const T g = grad_z.element(i);
        const int64_t offset = draw * draw_stride + i;
        by_mu += g;
        by_logvar += g * (args.eps.data ? eps.element(offset) : normal<T>(seed, element_of_row + offset));
      }
      by_logvar *= T(0.5) * portable::exponential(T(0.5) * v);
    }
    if (args.grad_kl.data) {
      const T g = grad_kl.element(i);
      by_mu += g * mu.element(i);
      by_logvar += g * portable::kl_standard_dlogvar(v);
    }
    grad_mu.element(i, by_mu);
    grad_logvar.element(i, by_logvar);
  }
};

template <class P>
__global__ void __launch_bounds__(block_threads, blocks_per_processor)
    sample_backward_kernel(const SampleBackwardArgs args) {
  const Place place(args.plan.lanes);
  SampleBackwardRow<P> rows(args, place);
  for_each_tile(place, args.batch, args.plan.tiles, rows);
}

}  // namespace cuda
}  // namespace vae_fast
