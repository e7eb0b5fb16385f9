// The gradient of a parameter that columns, samples or all elements share: the elements' derivatives are
// computed again and summed. Columns: blocks of threads, one a column, over fixed groups of rows, and the
// last block of a run of columns adds its groups. Samples: a block each.
#pragma once

#include "functors.cuh"
#include "reduce.cuh"

namespace vae_fast {
namespace cuda {

template <class T>
__device__ __forceinline__ double shared_term(const SharedGradientArgs& args, double scale, int64_t row,
                                              int64_t i) {
  const ElboArgs& elbo = args.elbo;
  const int64_t target_row = row < elbo.target_rows ? row : row % elbo.target_rows;
  const Element<T> e = element_at<T>(elbo, row, target_row, i);
  T factor = static_cast<T>(scale);
  if (elbo.grad_out.data)
    factor *= element_of<T>(elbo.grad_out, elbo.grad_out_of_target ? target_row : row, i);
  return static_cast<double>((args.which ? e.last : e.first) * factor);
}

template <class T>
__device__ __forceinline__ void gradient_of_columns(const SharedGradientArgs& args, double scale) {
  const int64_t cols = args.elbo.cols, runs = (cols + block_threads - 1) / block_threads;
  __shared__ bool last;
  for (int64_t item = blockIdx.x; item < runs * args.groups; item += gridDim.x) {
    const int64_t run = item / args.groups, group = item - run * args.groups;
    const int64_t col = run * block_threads + threadIdx.x, first = group * args.group;
    const int64_t end = first + args.group < args.elbo.rows ? first + args.group : args.elbo.rows;
    double sum = 0;
    if (col < cols) VAE_FAST_NO_UNROLL
    for (int64_t row = first; row < end; ++row) sum += shared_term<T>(args, scale, row, col);
    if (args.groups == 1) {
      if (col < cols) set_element<double>(args.result, col, 0, sum);
      continue;
    }
    if (col < cols) args.shared.partial[group * cols + col] = sum;
    __threadfence();
    __syncthreads();
    const unsigned count = static_cast<unsigned>(args.groups - 1);
    if (threadIdx.x == 0) last = atomicInc(ticket_of(args.shared, run), count) == count;
    __syncthreads();
    const bool mine = last;
    if (mine && col < cols) {
      __threadfence();
      double total = 0;
      VAE_FAST_NO_UNROLL
      for (int64_t g = 0; g < args.groups; ++g) total += __ldcg(args.shared.partial + g * cols + col);
      set_element<double>(args.result, col, 0, total);
    }
    __syncthreads();  // before `last` is written again
  }
}

template <class T>
__device__ __forceinline__ void gradient_of_samples(const SharedGradientArgs& args, double scale) {
  const ElboArgs& elbo = args.elbo;
  for (int64_t sample = blockIdx.x; sample < elbo.target_rows; sample += gridDim.x) {
    double sums[1] = {0};
    for (int64_t row = sample; row < elbo.rows; row += elbo.target_rows) VAE_FAST_NO_UNROLL
    for (int64_t i = threadIdx.x; i < elbo.cols; i += block_threads)
      sums[0] += shared_term<T>(args, scale, row, i);
    block_sums(sums);
    if (threadIdx.x == 0) set_element<double>(args.result, sample, 0, sums[0]);
  }
}

template <class T>
__global__ void __launch_bounds__(block_threads, 2)
    shared_gradient_kernel(const __grid_constant__ SharedGradientArgs args) {
  const double factor = factor_of(args.elbo.grad);
  if (args.elbo.unless_one && factor == 1.0) return;
  const double scale = args.elbo.recon_scale * factor;
  if (args.elbo.binding[args.which] == Binding::column)
    gradient_of_columns<T>(args, scale);
  else
    gradient_of_samples<T>(args, scale);
}

}  // namespace cuda
}  // namespace vae_fast
