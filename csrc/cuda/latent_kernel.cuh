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

// One row of mu and logvar, for a group's share of its draws. In packets: groups of the noise that are
// aligned in every operand and every draw; else element by element, from any operands.
template <class P, bool in_packets>
struct SampleRow {
  using T = typename Storage<P>::compute;
  static constexpr int E = noise_packet;
  static constexpr int resident = in_packets && sizeof(T) < 8 ? packet_blocks : element_blocks<T>;

  const SampleArgs& args;
  const Place& place;
  uint64_t seed;
  int64_t row = 0, first_draw = 0;
  bool with_kl = false;
  T tile_sum = T(0);
  double sum = 0;

  __device__ __forceinline__ SampleRow(const SampleArgs& a, const Place& p)
      : args(a), place(p), seed(a.seed ? static_cast<uint64_t>(*a.seed) : 0) {}

  __device__ __forceinline__ void set_row(int64_t index, int64_t draw) {
    row = index;
    first_draw = draw;
    with_kl = args.kl.data && draw == 0;
  }

  __device__ __forceinline__ void tile(int64_t index) {
    tile_sum = T(0);
    if (in_packets)
      walk_packets<E, 1>(place, args.cols, index, static_cast<int>(row * args.cols % E), *this);
    else
      walk_elements(place, args.cols, index, args.plan.elements, *this);
    sum += tile_sum;
  }

  __device__ __forceinline__ void packets(const int64_t (&start)[1], const bool (&whole)[1]) {
    if (!whole[0]) return;
    const P* mu = static_cast<const P*>(args.mu.data) + row * args.mu.row_stride + start[0];
    const P* logvar = static_cast<const P*>(args.logvar.data) + row * args.logvar.row_stride + start[0];
    const Packet<P, E> mu_packet = Packet<P, E>::load(mu), logvar_packet = Packet<P, E>::load(logvar);
    T m[E], deviation[E];
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i) {
      m[i] = value_of(mu_packet, i);
      const T v = value_of(logvar_packet, i);
      if (with_kl) tile_sum += portable::kl_standard(m[i], v);
      deviation[i] = portable::exponential(T(0.5) * v);
    }
    for (int64_t draw = first_draw; draw < args.samples; draw += args.draw_groups) {
      const int64_t element = (draw * args.batch + row) * args.cols + start[0];
      T z[E];
      normals<T, E>(seed, element, z);
      VAE_FAST_UNROLL
      for (int i = 0; i < E; ++i) z[i] = m[i] + deviation[i] * z[i];
      store_packet<P, E>(static_cast<P*>(args.z.data) + element, z);
    }
  }

  __device__ __forceinline__ void element(int64_t i) {
    const T m = element_of<T>(args.mu, row, i), v = element_of<T>(args.logvar, row, i);
    if (with_kl) tile_sum += portable::kl_standard(m, v);
    const T deviation = portable::exponential(T(0.5) * v);
    for (int64_t draw = first_draw; draw < args.samples; draw += args.draw_groups) {
      const int64_t z_row = draw * args.batch + row;
      const T noise =
          args.eps.data ? element_of<T>(args.eps, z_row, i) : normal<T>(seed, z_row * args.cols + i);
      set_element<T>(args.z, z_row, i, m + deviation * noise);
    }
  }
};

template <class Row>
__global__ void __launch_bounds__(block_threads, Row::resident)
    sample_kernel(const __grid_constant__ SampleArgs args) {
  const Place place(args.plan.lanes);
  Row rows(args, place);
  const int64_t splits = args.plan.splits, draws = args.draw_groups, work = args.batch * draws * splits;
  // All groups of a block run this loop equally often: the sums below need every thread.
  for (int64_t base = int64_t(blockIdx.x) * (block_threads / place.lanes); base < work;
       base += place.groups()) {
    const int64_t item = base + static_cast<int>(threadIdx.x) / place.lanes;
    const int64_t split = item % splits, draw = item / splits % draws, row = item / splits / draws;
    rows.sum = 0;
    if (item < work) {
      rows.set_row(row, draw);
      const int64_t end = least((split + 1) * args.plan.span, args.plan.tiles);
      VAE_FAST_NO_UNROLL
      for (int64_t tile = split * args.plan.span; tile < end; ++tile) rows.tile(tile);
    }
    if (!args.kl.data) continue;
    double sums[1] = {rows.sum};
    group_sums(sums, place.lanes);
    // More than one split: the group is the block, and all of its threads agree on the draw.
    if (splits > 1 && (draw != 0 || !sums_of_blocks(sums, args.shared.partial + row * splits,
                                                    ticket_of(args.shared, row), split, splits)))
      continue;
    if (item < work && draw == 0 && place.lane == 0) set_element<double>(args.kl, row, 0, sums[0]);
  }
}

// One row of the gradients of mu and logvar, summed over all draws.
template <class P, bool in_packets>
struct SampleBackwardRow {
  using T = typename Storage<P>::compute;
  static constexpr int E = noise_packet;
  static constexpr int resident = element_blocks<T>;

  const SampleBackwardArgs& args;
  const Place& place;
  uint64_t seed;
  int64_t row = 0;

  __device__ __forceinline__ SampleBackwardRow(const SampleBackwardArgs& a, const Place& p)
      : args(a), place(p), seed(a.seed ? static_cast<uint64_t>(*a.seed) : 0) {}

  __device__ __forceinline__ void set_row(int64_t index) { row = index; }

  __device__ __forceinline__ void tile(int64_t index) {
    if (in_packets)
      walk_packets<E, 1>(place, args.cols, index, static_cast<int>(row * args.cols % E), *this);
    else
      walk_elements(place, args.cols, index, args.plan.elements, *this);
  }

  __device__ __forceinline__ void packets(const int64_t (&start)[1], const bool (&whole)[1]) {
    if (!whole[0]) return;
    T by_mu[E], by_logvar[E];
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i) by_mu[i] = by_logvar[i] = T(0);
    const P* logvar = static_cast<const P*>(args.logvar.data) + row * args.logvar.row_stride + start[0];
    const Packet<P, E> v = Packet<P, E>::load(logvar);
    if (args.grad_z.data) {
      for (int64_t draw = 0; draw < args.samples; ++draw) {
        const int64_t z_row = draw * args.batch + row;
        const P* grad_z = static_cast<const P*>(args.grad_z.data) + z_row * args.grad_z.row_stride + start[0];
        const Packet<P, E> g = Packet<P, E>::load(grad_z);
        T noise[E];
        normals<T, E>(seed, z_row * args.cols + start[0], noise);
        VAE_FAST_UNROLL
        for (int i = 0; i < E; ++i) {
          by_mu[i] += value_of(g, i);
          by_logvar[i] += value_of(g, i) * noise[i];
        }
      }
      VAE_FAST_UNROLL
      for (int i = 0; i < E; ++i) by_logvar[i] *= T(0.5) * portable::exponential(T(0.5) * value_of(v, i));
    }
    if (args.grad_kl.data) {
      const P* mu = static_cast<const P*>(args.mu.data) + row * args.mu.row_stride + start[0];
      const Packet<P, E> m = Packet<P, E>::load(mu);
      const T g = static_cast<T>(number_of(args.grad_kl, row));
      VAE_FAST_UNROLL
      for (int i = 0; i < E; ++i) {
        by_mu[i] += g * value_of(m, i);
        by_logvar[i] += g * portable::kl_standard_dlogvar(value_of(v, i));
      }
    }
    const int64_t element = row * args.cols + start[0];
    store_packet<P, E>(static_cast<P*>(args.grad_mu.data) + element, by_mu);
    store_packet<P, E>(static_cast<P*>(args.grad_logvar.data) + element, by_logvar);
  }

  __device__ __forceinline__ void element(int64_t i) {
    const T v = element_of<T>(args.logvar, row, i);
    T by_mu = T(0), by_logvar = T(0);
    if (args.grad_z.data) {
      for (int64_t draw = 0; draw < args.samples; ++draw) {
        const int64_t z_row = draw * args.batch + row;
        const T g = element_of<T>(args.grad_z, z_row, i);
        by_mu += g;
        by_logvar +=
            g * (args.eps.data ? element_of<T>(args.eps, z_row, i) : normal<T>(seed, z_row * args.cols + i));
      }
      by_logvar *= T(0.5) * portable::exponential(T(0.5) * v);
    }
    if (args.grad_kl.data) {
      const T g = static_cast<T>(number_of(args.grad_kl, row));
      by_mu += g * element_of<T>(args.mu, row, i);
      by_logvar += g * portable::kl_standard_dlogvar(v);
    }
    set_element<T>(args.grad_mu, row, i, by_mu);
    set_element<T>(args.grad_logvar, row, i, by_logvar);
  }
};

template <class Row>
__global__ void __launch_bounds__(block_threads, Row::resident)
    sample_backward_kernel(const __grid_constant__ SampleBackwardArgs args) {
  const Place place(args.plan.lanes);
  Row rows(args, place);
  const int64_t tiles = args.plan.tiles;
  for_each_tile(Share::of_all(place, args.batch, tiles), tiles, rows);
}

}  // namespace cuda
}  // namespace vae_fast
