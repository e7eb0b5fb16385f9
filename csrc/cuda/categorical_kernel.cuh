// Kernels of the categorical latent: Gumbel-softmax samples with their KL to the uniform distribution, and
// their gradient. The logits are read, the sample is written, no noise is kept; the backward draws the same
// noise again from the seed.
//
// A group of lanes has one variable, each lane four neighbouring categories at a time. Up to 128 categories
// are held in registers; of more, every pass reads the logits and draws the noise again.
#pragma once

#include "../math/categorical.h"
#include "reduce.cuh"
#include "rows.cuh"

namespace vae_fast {
namespace cuda {

template <class T>
__device__ __forceinline__ T group_max(T value, int lanes) {
  for (int distance = lanes / 2; distance > 0; distance /= 2) {
    const T other = __shfl_xor_sync(full_mask, value, distance);
    value = other > value ? other : value;
  }
  return value;
}

__device__ __forceinline__ int group_min(int value, int lanes) {
  for (int distance = lanes / 2; distance > 0; distance /= 2) {
    const int other = __shfl_xor_sync(full_mask, value, distance);
    value = other < value ? other : value;
  }
  return value;
}

// Sums of a group of at most a warp, in each of its lanes.
template <class T, int N>
__device__ __forceinline__ void lane_sums(T (&value)[N], int lanes) {
  for (int distance = lanes / 2; distance > 0; distance /= 2) {
    VAE_FAST_UNROLL
    for (int k = 0; k < N; ++k) value[k] += __shfl_xor_sync(full_mask, value[k], distance);
  }
}

// Gumbel noise of four neighbouring elements, which lie in one group of the noise or in two.
template <class T>
__device__ __forceinline__ void gumbels(uint64_t seed, int64_t element, T (&out)[categories_of_lane]) {
  const uint64_t group = static_cast<uint64_t>(element) >> 2;
  const portable::Philox4 first = portable::philox4x32_10(seed, group, 1);
  uint32_t word[8] = {first.x, first.y, first.z, first.w, 0, 0, 0, 0};
  const int shift = static_cast<int>(element & 3);
  if (shift) {
    const portable::Philox4 second = portable::philox4x32_10(seed, group + 1, 1);
    word[4] = second.x;
    word[5] = second.y;
    word[6] = second.z;
    word[7] = second.w;
    VAE_FAST_UNROLL
    for (int i = 0; i < 6; ++i) word[i] = shift & 2 ? word[i + 2] : word[i];
    VAE_FAST_UNROLL
    for (int i = 0; i < 4; ++i) word[i] = shift & 1 ? word[i + 1] : word[i];
  }
  VAE_FAST_UNROLL
  for (int i = 0; i < categories_of_lane; ++i) out[i] = portable::gumbel(word[i]);
}

// What a lane has of a variable, four categories at a time.
template <class P>
struct Variable {
  using T = typename Storage<P>::compute;
  static constexpr int E = categories_of_lane;

  const CategoricalArgs& args;
  int lanes, lane;
  uint64_t seed;
  T scale;
  int64_t first = 0;
  bool active = false;

  __device__ __forceinline__ explicit Variable(const CategoricalArgs& a)
      : args(a),
        lanes(a.lanes),
        lane(static_cast<int>(threadIdx.x) & (a.lanes - 1)),
        seed(static_cast<uint64_t>(*a.seed)),
        scale(T(1) / static_cast<T>(a.tau_tensor.data ? number_of(a.tau_tensor, 0) : a.tau)) {}

  __device__ __forceinline__ void set(int64_t variable, bool is_there) {
    first = variable * args.categories;
    active = is_there;
  }

  __device__ __forceinline__ int64_t category(int tile) const {
    return (static_cast<int64_t>(tile) * lanes + lane) * E;
  }

  // How many of a tile's four categories there are.
  __device__ __forceinline__ int count(int tile) const {
    const int64_t left = args.categories - category(tile);
    return !active || left <= 0 ? 0 : left < E ? static_cast<int>(left) : E;
  }

  __device__ __forceinline__ void load(const Operand& a, int tile, int n, T (&out)[E]) const {
    const P* p = static_cast<const P*>(a.data) + first + category(tile);
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i) out[i] = T(0);
    if (args.in_packets) {
      if (n) {
        const Packet<P, E> packet = Packet<P, E>::load(p);
        VAE_FAST_UNROLL
        for (int i = 0; i < E; ++i) out[i] = value_of(packet, i);
      }
    } else {
      VAE_FAST_UNROLL
      for (int i = 0; i < E; ++i)
        if (i < n) out[i] = value_of(p[i]);
    }
  }

  __device__ __forceinline__ void store(const Operand& a, int tile, int n, const T (&value)[E]) const {
    P* p = static_cast<P*>(a.data) + first + category(tile);
    if (args.in_packets) {
      if (n) store_packet<P, E>(p, value);
    } else {
      VAE_FAST_UNROLL
      for (int i = 0; i < E; ++i)
        if (i < n) cuda::set(p[i], value[i]);
    }
  }

  // (logit + noise) / tau.
  __device__ __forceinline__ void perturb(const T (&logit)[E], int tile, T (&x)[E]) const {
    gumbels(seed, first + category(tile), x);
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i) x[i] = (logit[i] + x[i]) * scale;
  }
};

template <class T>
__device__ __forceinline__ T lowest() {
  return -static_cast<T>(INFINITY);
}

// Writes y of one variable; returns its KL.
template <class P, bool single>
__device__ __forceinline__ typename Storage<P>::compute sample_variable(const Variable<P>& variable) {
  using T = typename Storage<P>::compute;
  constexpr int E = categories_of_lane;
  const CategoricalArgs& args = variable.args;
  T logit[E], x[E];
  int n = 0;
  const auto read = [&](int tile) {
    n = variable.count(tile);
    variable.load(args.logits, tile, n, logit);
    variable.perturb(logit, tile, x);
  };

  T largest = lowest<T>(), top = lowest<T>(), total[1] = {T(0)};
  VAE_FAST_NO_UNROLL
  for (int tile = 0; tile < args.tiles; ++tile) {
    read(tile);
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i) {
      if (i < n) {
        largest = logit[i] > largest ? logit[i] : largest;
        top = x[i] > top ? x[i] : top;
        total[0] += logit[i];
      }
    }
  }
  largest = group_max(largest, variable.lanes);
  top = group_max(top, variable.lanes);
  lane_sums(total, variable.lanes);
  const T categories = static_cast<T>(args.categories), mean = total[0] / categories;
  const bool near = portable::is_near_uniform(largest, mean);
  const T centre = near ? mean : largest;

  T sums[5] = {T(0), T(0), T(0), T(0), T(0)};
  int chosen = args.tiles * variable.lanes * E;
  VAE_FAST_NO_UNROLL
  for (int tile = 0; tile < args.tiles; ++tile) {
    if (!single) read(tile);
    VAE_FAST_UNROLL
    for (int i = E - 1; i >= 0; --i) {
      if (i < n) {
        const T d = logit[i] - centre, e = portable::exponential(d);
        const portable::Expm1<T> minus = portable::expm1_and_minus(d);
        sums[0] += e;
        sums[1] += e * portable::bounded(d);
        sums[2] += minus.minus;
        sums[3] += minus.value * d;
        sums[4] += portable::exponential(x[i] - top);
        const int category = static_cast<int>(variable.category(tile)) + i;
        if (x[i] == top && category < chosen) chosen = category;
      }
    }
  }
  lane_sums(sums, variable.lanes);
  chosen = group_min(chosen, variable.lanes);

  VAE_FAST_NO_UNROLL
  for (int tile = 0; tile < args.tiles; ++tile) {
    if (!single) read(tile);
    T y[E];
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i) {
      // A softmax that is NaN makes a one-hot NaN.
      const T one = static_cast<int>(variable.category(tile)) + i == chosen ? T(1) : T(0);
      y[i] = args.hard ? one * (sums[4] / sums[4]) : portable::exponential(x[i] - top) / sums[4];
    }
    variable.store(args.y, tile, n, y);
  }
  return portable::categorical_kl(portable::CategoricalSums<T>{sums[0], sums[1], sums[2], sums[3]},
                                  categories, near);
}

template <class P, bool single>
__global__ void __launch_bounds__(block_threads, element_blocks<typename Storage<P>::compute>)
    categorical_kernel(const __grid_constant__ CategoricalArgs args) {
  const Place team(args.plan.lanes);
  Variable<P> variable(args);
  const int groups = team.lanes / args.lanes, group = team.lane / args.lanes;
  const int64_t splits = args.plan.splits, work = args.batch * splits;
  // All groups of a block run these loops equally often: the sums below need every thread.
  for (int64_t base = int64_t(blockIdx.x) * (block_threads / team.lanes); base < work;
       base += team.groups()) {
    const int64_t item = base + static_cast<int>(threadIdx.x) / team.lanes;
    const int64_t split = item % splits, row = item / splits;
    double sums[1] = {0};
    VAE_FAST_NO_UNROLL
    for (int64_t round = 0; round < args.rounds; ++round) {
      const int64_t number = (round * splits + split) * groups + group;
      const bool active = item < work && number < args.variables;
      variable.set(row * args.variables + number, active);
      const double kl = sample_variable<P, single>(variable);
      if (active && variable.lane == 0) sums[0] += kl;
    }
    group_sums(sums, team.lanes);
    // More than one split: the team is the block.
    if (splits > 1 &&
        !sums_of_blocks(sums, args.shared.partial + row * splits, ticket_of(args.shared, row), split, splits))
      continue;
    if (item < work && team.lane == 0) set_element<double>(args.kl, row, 0, sums[0]);
  }
}

// Writes the gradient of one variable's logits.
template <class P, bool single>
__device__ __forceinline__ void backward_variable(const Variable<P>& variable,
                                                  typename Storage<P>::compute grad_kl) {
  using T = typename Storage<P>::compute;
  constexpr int E = categories_of_lane;
  const CategoricalArgs& args = variable.args;
  const bool with_y = args.grad_y.data, with_kl = args.grad_kl.data;
  T logit[E], x[E], grad_y[E];
  int n = 0;
  const auto read = [&](int tile) {
    n = variable.count(tile);
    variable.load(args.logits, tile, n, logit);
    if (with_y) {
      variable.perturb(logit, tile, x);
      variable.load(args.grad_y, tile, n, grad_y);
    }
  };

  T largest = lowest<T>(), top = lowest<T>();
  VAE_FAST_NO_UNROLL
  for (int tile = 0; tile < args.tiles; ++tile) {
    read(tile);
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i) {
      if (i < n) {
        largest = logit[i] > largest ? logit[i] : largest;
        if (with_y) top = x[i] > top ? x[i] : top;
      }
    }
  }
  largest = group_max(largest, variable.lanes);
  top = group_max(top, variable.lanes);

  // Of the sample: exp(x - top), and that times its gradient. Of q: exp(d), and exp(d) d.
  T sums[4] = {T(0), T(0), T(0), T(0)};
  VAE_FAST_NO_UNROLL
  for (int tile = 0; tile < args.tiles; ++tile) {
    if (!single) read(tile);
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i) {
      if (i < n) {
        if (with_y) {
          const T e = portable::exponential(x[i] - top);
          sums[0] += e;
          sums[1] += e * grad_y[i];
        }
        if (with_kl) {
          const T d = portable::bounded(logit[i] - largest), e = portable::exponential(d);
          sums[2] += e;
          sums[3] += e * d;
        }
      }
    }
  }
  lane_sums(sums, variable.lanes);
  const T sample_scale = variable.scale / sums[0], dot = sums[1] / sums[0];
  const T kl_scale = grad_kl / sums[2], moment = sums[3] / sums[2];

  VAE_FAST_NO_UNROLL
  for (int tile = 0; tile < args.tiles; ++tile) {
    if (!single) read(tile);
    T grad[E];
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i) {
      grad[i] = T(0);
      if (with_y) grad[i] += portable::exponential(x[i] - top) * sample_scale * (grad_y[i] - dot);
      if (with_kl) {
        const T d = portable::bounded(logit[i] - largest);
        grad[i] += portable::exponential(d) * kl_scale * (d - moment);
      }
    }
    variable.store(args.grad_logits, tile, n, grad);
  }
}

template <class P, bool single>
__global__ void __launch_bounds__(block_threads, element_blocks<typename Storage<P>::compute>)
    categorical_backward_kernel(const __grid_constant__ CategoricalArgs args) {
  using T = typename Storage<P>::compute;
  const Place place(args.lanes);
  Variable<P> variable(args);
  const int64_t variables = args.batch * args.variables;
  for (int64_t base = int64_t(blockIdx.x) * (block_threads / place.lanes); base < variables;
       base += place.groups()) {
    const int64_t number = base + static_cast<int>(threadIdx.x) / place.lanes;
    const bool active = number < variables;
    variable.set(number, active);
    T grad_kl = T(0);
    if (active && args.grad_kl.data)
      grad_kl = static_cast<T>(number_of(args.grad_kl, number / args.variables));
    backward_variable<P, single>(variable, grad_kl);
  }
}

}  // namespace cuda
}  // namespace vae_fast
