// Row kernels of every likelihood, with the KL of the latent in the same launch: parameters, target and
// weight are read once; sums, elements and gradients are written in the same pass. For a float32 scalar
// loss with its gradient: 12 bytes per element, 5 for bfloat16 logits with uint8 targets.
#pragma once

#include "../math/gaussian_kl.h"
#include "functors.cuh"
#include "reduce.cuh"
#include "rows.cuh"

namespace vae_fast {
namespace cuda {

// What a launch computes: values, with gradients where they are wanted; or gradients alone.
enum class Pass { values, gradients };

__device__ __forceinline__ int64_t target_row_of(const ElboArgs& args, int64_t row) {
  return row < args.target_rows ? row : row % args.target_rows;
}

// What the gradients of a row are multiplied with, where rows have factors of their own; there is no other
// then.
__device__ __forceinline__ bool has_row_scales(const ElboArgs& args) {
  return args.grad_out.data && args.grad_out.col_stride == 0;
}
template <class T>
__device__ __forceinline__ T row_scale_of(const ElboArgs& args, int64_t row, int64_t target_row) {
  return static_cast<T>(args.recon_scale) *
         static_cast<T>(number_of(args.grad_out, args.grad_out_of_target ? target_row : row));
}

// E elements of a target in the arithmetic's type; which dtype it has is the same for the whole launch.
template <class P, int E>
__device__ __forceinline__ void load_target(const Operand& a, int64_t offset, const ByteScale& byte_scale,
                                            typename Storage<P>::compute (&t)[E]) {
  if (a.dtype == DType::float32) {
    const Packet<float, E> packet = Packet<float, E>::load(static_cast<const float*>(a.data) + offset);
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i) t[i] = value_of(packet, i);
  } else if (a.dtype == Storage<P>::dtype) {
    const Packet<P, E> packet = Packet<P, E>::load(static_cast<const P*>(a.data) + offset);
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i) t[i] = value_of(packet, i);
  } else {
    const Packet<byte, E> packet = Packet<byte, E>::load(static_cast<const byte*>(a.data) + offset);
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i) t[i] = value_of(packet, i, byte_scale);
  }
}

// One row in packets: parameters and gradients of storage type S; no weights. float64 has no packets:
// neighbouring lanes move 8 bytes each, which is as wide as memory wants.
template <class F, class S, Pass pass>
struct NllPackets {
  using T = typename Storage<S>::compute;
  static constexpr int P = F::parameters;
  static constexpr int E = nll_packet_of(Storage<S>::dtype, P);
  static constexpr int resident = F::resident;
  // Packets in flight before the first is used, as registers allow.
  static constexpr int U = E > 4 ? 1 : F::in_flight;
  static constexpr bool adds_constant = false;  // the sum gets all of them at its end
  static constexpr bool with_value = pass == Pass::values;

  const ElboArgs& args;
  const Place& place;
  T row_scale;
  const ByteScale byte_scale;
  const bool last_of_elements;                          // whether the last parameter is not one for all
  T shared[P], derived[1];                              // the last parameter, where it is
  int64_t param_row = 0, last_row = 0, target_row = 0;  // their first elements
  int64_t result_row = 0;                               // results lie densely
  int shift = 0;
  T tile_sum = T(0), tile_one_sum = T(0);
  double sum = 0, one_sum = 0;

  __device__ __forceinline__ NllPackets(const ElboArgs& a, const Place& p, double factor)
      : args(a),
        place(p),
        row_scale(static_cast<T>(factor)),
        byte_scale(ByteScale::of(a.target.dtype)),
        last_of_elements(P > 1 && a.parameters == P && a.binding[P - 1] == Binding::element) {
    shared[P - 1] = T(0);
    derived[0] = T(0);
    if (P == 1 || last_of_elements) return;
    shared[P - 1] = a.parameters == P ? static_cast<T>(number_of(a.param[P - 1], 0)) : F::absent;
    F::derive(shared[P - 1], derived);
  }

  __device__ __forceinline__ void set_row(int64_t row) {
    const int64_t of_target = target_row_of(args, row);
    param_row = row * args.param[0].row_stride;
    if (P > 1) last_row = row * args.param[P - 1].row_stride;
    target_row = of_target * args.target.row_stride;
    result_row = row * args.cols;
    shift = shift_of<E>(static_cast<const S*>(args.param[0].data) + param_row);
    if (has_row_scales(args)) row_scale = row_scale_of<T>(args, row, of_target);
  }

  __device__ __forceinline__ void tile(int64_t index) {
    tile_sum = tile_one_sum = T(0);
    walk_packets<E, U>(place, args.cols, index, shift, *this);
    // Few terms are added in the arithmetic's type, everything else in double.
    if (with_value) sum += tile_sum;
    if (P > 1) one_sum += tile_one_sum;
  }

  __device__ __forceinline__ void packets(const int64_t (&start)[U], const bool (&whole)[U]) {
    Packet<S, E> x[U], v[U];
    T t[U][E];
    VAE_FAST_UNROLL
    for (int u = 0; u < U; ++u) {
      if (!whole[u]) continue;
      x[u] = Packet<S, E>::load(static_cast<const S*>(args.param[0].data) + param_row + start[u]);
      if (P > 1 && last_of_elements)
        v[u] = Packet<S, E>::load(static_cast<const S*>(args.param[P - 1].data) + last_row + start[u]);
    }
    VAE_FAST_UNROLL
    for (int u = 0; u < U; ++u)
      if (whole[u]) load_target<S, E>(args.target, target_row + start[u], byte_scale, t[u]);
    VAE_FAST_UNROLL
    for (int u = 0; u < U; ++u)
      if (whole[u]) packet(start[u], x[u], v[u], t[u]);
  }

  __device__ __forceinline__ portable::Nll<T, P> evaluate(T x, T v, T t) {
    T p[P], d[1] = {derived[0]};
    p[P - 1] = shared[P - 1];
    if (P > 1 && last_of_elements) {
      p[P - 1] = v;
      F::derive(v, d);
    }
    p[0] = x;
    return F::at(args, p, d, t);
  }

  __device__ __forceinline__ void packet(int64_t start, const Packet<S, E>& x, const Packet<S, E>& v,
                                         const T (&t)[E]) {
    T value[E], first[E], last[E];
    VAE_FAST_UNROLL
    for (int i = 0; i < E; ++i) {
      const portable::Nll<T, P> e =
          evaluate(value_of(x, i), P > 1 && last_of_elements ? value_of(v, i) : T(0), t[i]);
      value[i] = e.value;
      first[i] = e.grad[0] * row_scale;
      last[i] = e.grad[P - 1] * row_scale;
      if (with_value) tile_sum += e.value;
      if (P > 1) tile_one_sum += last[i];
    }
    if (with_value && args.values.data) {
      VAE_FAST_UNROLL
      for (int i = 0; i < E; ++i) value[i] += static_cast<T>(args.constants[0]);
      store_packet<T, E>(static_cast<T*>(args.values.data) + result_row + start, value);
    }
    if (with_value && !args.with_grad) return;
    if (args.grad_param[0].data)
      store_packet<S, E>(static_cast<S*>(args.grad_param[0].data) + result_row + start, first);
    if (P > 1 && args.grad_param[P - 1].data)
      store_packet<S, E>(static_cast<S*>(args.grad_param[P - 1].data) + result_row + start, last);
  }

  __device__ __forceinline__ void element(int64_t i) {
    const T x = value_of(static_cast<const S*>(args.param[0].data)[param_row + i]);
    const T v = P > 1 && last_of_elements
                    ? value_of(static_cast<const S*>(args.param[P - 1].data)[last_row + i])
                    : T(0);
    const portable::Nll<T, P> e = evaluate(x, v, element_of<T>(args.target, 0, target_row + i));
    const T last = e.grad[P - 1] * row_scale;
    if (with_value) tile_sum += e.value;
    if (P > 1) tile_one_sum += last;
    if (with_value && args.values.data)
      static_cast<T*>(args.values.data)[result_row + i] = e.value + static_cast<T>(args.constants[0]);
    if (with_value && !args.with_grad) return;
    if (args.grad_param[0].data)
      set(static_cast<S*>(args.grad_param[0].data)[result_row + i], e.grad[0] * row_scale);
    if (P > 1 && args.grad_param[P - 1].data)
      set(static_cast<S*>(args.grad_param[P - 1].data)[result_row + i], last);
  }
};

// What an element adds to the sums: its value, and the gradient of the last parameter.
template <class T>
struct Terms {
  T value, last;
};

// Writes what is wanted of one element. A function of its own, apart from the registers of the loop over
// rows.
template <class T>
__device__ VAE_FAST_NOINLINE Terms<T> nll_element(const ElboArgs& args, T row_scale, int64_t row,
                                                  int64_t target_row, int64_t i) {
  const Element<T> e = element_at<T>(args, row, target_row, i);
  if (args.values.data) set_element<T>(args.values, row, i, e.value);
  if (!args.with_grad) return {e.value, T(0)};
  T factor = row_scale;
  if (args.grad_out.data && args.grad_out.col_stride != 0)
    factor *= element_of<T>(args.grad_out, args.grad_out_of_target ? target_row : row, i);
  if (args.grad_param[0].data) set_element<T>(args.grad_param[0], row, i, e.first * factor);
  if (args.parameters == 1) return {e.value, T(0)};
  if (args.grad_param[1].data) set_element<T>(args.grad_param[1], row, i, e.last * factor);
  return {e.value, e.last * factor};
}

// One row element by element: any likelihood, dtypes, strides and alignment, parameters shared in any way,
// weights, and gradients that are absent. What differs between launches is branched on.
template <class Compute>
struct NllElements {
  using T = Compute;
  static constexpr int resident = element_blocks<T>;
  static constexpr bool adds_constant = true;

  const ElboArgs& args;
  const Place& place;
  T row_scale;
  int64_t row = 0, target_row = 0;
  T tile_sum = T(0), tile_one_sum = T(0);
  double sum = 0, one_sum = 0;

  __device__ __forceinline__ NllElements(const ElboArgs& a, const Place& p, double factor)
      : args(a), place(p), row_scale(static_cast<T>(factor)) {}

  __device__ __forceinline__ void set_row(int64_t index) {
    row = index;
    target_row = target_row_of(args, row);
    if (has_row_scales(args)) row_scale = row_scale_of<T>(args, row, target_row);
  }

  __device__ __forceinline__ void tile(int64_t index) {
    tile_sum = tile_one_sum = T(0);
    walk_elements(place, args.cols, index, args.plan.elements, *this);
    sum += tile_sum;
    one_sum += tile_one_sum;
  }

  __device__ __forceinline__ void element(int64_t i) {
    const Terms<T> terms = nll_element(args, row_scale, row, target_row, i);
    tile_sum += terms.value;
    tile_one_sum += terms.last;
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

// The KL of one sample, this lane's share.
template <class T>
__device__ __forceinline__ double kl_of_sample(const ElboArgs& args, const Place& place, int64_t row) {
  double kl = 0;
  if (args.kl.data && place.lane == 0) kl = number_of(args.kl, row);
  if (args.mu.data) VAE_FAST_NO_UNROLL
  for (int64_t j = place.lane; j < args.latents; j += place.lanes)
    kl += portable::kl_standard(element_of<T>(args.mu, row, j), element_of<T>(args.latent_logvar, row, j));
  return kl;
}

// The result number `row` from the sums of `rows` rows of parameters.
template <class Row>
__device__ __forceinline__ void write_loss(const ElboArgs& args, int64_t row, int64_t rows, double nll,
                                           double kl_sum, double beta) {
  if (!Row::adds_constant) nll += args.constants[0] * static_cast<double>(rows * args.cols);
  const double recon = nll * args.recon_scale, kl = kl_sum * args.kl_scale;
  const bool with_kl = args.recon_out.data;
  set_element<double>(args.loss, row, 0, with_kl ? recon + beta * kl : recon);
  if (!with_kl) return;
  set_element<double>(args.recon_out, row, 0, recon);
  set_element<double>(args.kl_out, row, 0, kl);
}

// A result for each of `results` rows of `draws` rows of parameters, or one in all, or elements, or gradients
// alone.
template <class Row>
__global__ void __launch_bounds__(block_threads, Row::resident)
    elbo_kernel(const __grid_constant__ ElboArgs args) {
  using T = typename Row::T;
  if (args.unless_one && factor_of(args.grad) == 1.0) return;
  const Place place(args.plan.lanes);
  Row rows(args, place, args.recon_scale * factor_of(args.grad));
  const bool per_row = args.per_row;
  for_each_result<3>(
      args.plan, per_row, args.results, args.shared,
      [&](int64_t row, int64_t split, double (&sums)[3]) {
        rows.sum = 0;
        for_each_tile(per_row ? Share::of_result(args.plan, split, row, args.results, args.draws)
                              : Share::of_all(place, args.rows, args.plan.tiles),
                      args.plan.tiles, rows);
        sums[0] = rows.sum;
        sums[2] = rows.one_sum;
        if (per_row) {
          if (split == 0) sums[1] = kl_of_sample<T>(args, place, row);
          return;
        }
        // Read after the loop: registers are dear in it.
        const double factor = args.beta * factor_of(args.beta_factor) * args.kl_scale * factor_of(args.grad);
        // From the last thread on: the first ones may have a tile more than the others.
        const int64_t threads = int64_t(gridDim.x) * block_threads;
        const int64_t worker = threads - 1 - (int64_t(blockIdx.x) * block_threads + threadIdx.x);
        sums[1] = latent_terms<T>(args, factor, worker, threads);
      },
      [&](int64_t row, const double (&sums)[3]) {
        const double beta = args.beta * factor_of(args.beta_factor);
        if (args.loss.data)
          write_loss<Row>(args, row, per_row ? args.draws : args.rows, sums[0], sums[1], beta);
        if (args.grad_one.data) set_element<double>(args.grad_one, 0, 0, sums[2]);
      });
}

}  // namespace cuda
}  // namespace vae_fast
