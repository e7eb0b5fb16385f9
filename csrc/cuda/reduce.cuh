// Sums over groups of threads and over blocks, always in the same order, without floating-point atomics.
#pragma once

#include "../math/config.h"
#include "launch.cuh"
#include "plan.h"

namespace vae_fast {
namespace cuda {

constexpr unsigned full_mask = 0xffffffffu;
constexpr int warps = block_threads / warp_threads;

// Sums of `lanes` neighbouring threads of a warp, in each of them. All threads of the warp call it.
template <int N>
__device__ __forceinline__ void warp_sums(double (&value)[N], int lanes) {
  for (int distance = lanes / 2; distance > 0; distance /= 2) {
    VAE_FAST_UNROLL
    for (int k = 0; k < N; ++k) value[k] += __shfl_xor_sync(full_mask, value[k], distance);
  }
}

// Sums of the block, in its first thread. All threads call it.
template <int N>
__device__ __forceinline__ void block_sums(double (&value)[N]) {
  __shared__ double part[warps][N];
  warp_sums(value, warp_threads);
  __syncthreads();  // the threads of an earlier call have read their parts
  if (threadIdx.x % warp_threads == 0) {
    VAE_FAST_UNROLL
    for (int k = 0; k < N; ++k) part[threadIdx.x / warp_threads][k] = value[k];
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    VAE_FAST_UNROLL
    for (int k = 0; k < N; ++k) {
      double total = 0;
      for (int w = 0; w < warps; ++w) total += part[w][k];
      value[k] = total;
    }
  }
}

// Sums of a group of `lanes` threads, valid in its first one. All threads of the block call it.
template <int N>
__device__ __forceinline__ void group_sums(double (&value)[N], int lanes) {
  if (lanes <= warp_threads)
    warp_sums(value, lanes);
  else
    block_sums(value);
}

// Kernels of one stream run one after the other, so they can share tickets, which need no memory from
// anybody: zero when the module is loaded, and again after every launch.
static __device__ unsigned tickets_of_streams[ticket_slots][most_tickets];

__device__ __forceinline__ unsigned* ticket_of(const Shared& shared, int64_t index) {
  return (shared.tickets ? shared.tickets : tickets_of_streams[shared.slot]) + index;
}

// Adds up what `count` blocks (numbered `index`) bring, given in the first thread of each. True in all
// threads of the last one to arrive, whose first thread then holds the sums. All threads call it.
template <int N>
__device__ __forceinline__ bool sums_of_blocks(double (&value)[N], double* partial, unsigned* ticket,
                                               int64_t index, int64_t count) {
  __shared__ bool last;
  if (threadIdx.x == 0) {
    VAE_FAST_UNROLL
    for (int k = 0; k < N; ++k) partial[index * N + k] = value[k];
    __threadfence();
    // Counts up to count - 1 and then starts at 0 again, ready for the next launch.
    last = atomicInc(ticket, static_cast<unsigned>(count - 1)) == static_cast<unsigned>(count - 1);
  }
  __syncthreads();
  const bool mine = last;
  if (mine) {
    __threadfence();
    VAE_FAST_UNROLL
    for (int k = 0; k < N; ++k) value[k] = 0;
    VAE_FAST_NO_UNROLL
    for (int64_t i = threadIdx.x; i < count; i += block_threads) {
      VAE_FAST_UNROLL
      for (int k = 0; k < N; ++k) value[k] += __ldcg(partial + i * N + k);
    }
    block_sums(value);
  }
  __syncthreads();  // before `last` is written again
  return mine;
}

// The sums of results. Of rows: groups of `lanes` threads have a result, or one of its `splits`, in turn.
// Else all blocks share a single one. work(result, split, sums) is called in every thread, write(result,
// sums) in one thread for each result.
template <int N, class Work, class Write>
__device__ __forceinline__ void for_each_result(const Plan& plan, bool per_row, int64_t results,
                                                const Shared& shared, Work work, Write write) {
  const int lanes = per_row ? plan.lanes : block_threads, groups = block_threads / lanes;
  const int64_t splits = per_row ? plan.splits : gridDim.x, items = per_row ? results * splits : splits;
  const int group = static_cast<int>(threadIdx.x) / lanes, lane = static_cast<int>(threadIdx.x) % lanes;
  // All groups of a block run this loop equally often: the sums need every thread.
  VAE_FAST_NO_UNROLL
  for (int64_t base = int64_t(blockIdx.x) * groups; base < items; base += int64_t(gridDim.x) * groups) {
    const int64_t item = base + group;
    const int64_t result = !per_row ? 0 : splits == 1 ? item : item / splits, split = item - result * splits;
    double sums[N] = {};
    if (item < items) work(result, split, sums);
    if (!per_row && !shared.partial) return;
    group_sums(sums, lanes);
    // More than one split: the group is the block.
    if (splits > 1 &&
        !sums_of_blocks(sums, shared.partial + result * splits * N, ticket_of(shared, result), split, splits))
      continue;
    if (item < items && lane == 0) write(result, sums);
  }
}

}  // namespace cuda
}  // namespace vae_fast
