// How threads walk over rows: a group of lanes takes tile after tile, and within a tile each lane takes
// packets or elements.
#pragma once

#include "vector.cuh"

namespace vae_fast {
namespace cuda {

__device__ __forceinline__ int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// The place of a thread.
struct Place {
  int lane, lanes;

  __device__ __forceinline__ explicit Place(int lanes_of_group)
      : lane(static_cast<int>(threadIdx.x) & (lanes_of_group - 1)), lanes(lanes_of_group) {}

  // The group in the grid, and how many there are.
  __device__ __forceinline__ int64_t group() const {
    return (int64_t(blockIdx.x) * block_threads + threadIdx.x) / static_cast<unsigned>(lanes);
  }
  __device__ __forceinline__ int64_t groups() const {
    return int64_t(gridDim.x) * block_threads / static_cast<unsigned>(lanes);
  }
};

// Which tiles of which rows a group takes: of the rows `base`, base + stride, ..., which have `tiles` each,
// the tiles number first, first + step, ..., `count` of them.
struct Share {
  int64_t first, step, count, base, stride;

  // A share of all rows' tiles, dealt in turn.
  static __device__ __forceinline__ Share of_all(const Place& place, int64_t rows, int64_t tiles) {
    const int64_t first = place.group(), step = place.groups(), all = rows * tiles;
    return {first, step, first < all ? (all - first - 1) / step + 1 : 0, 0, 1};
  }
  // Split number `split` of one result: neighbouring tiles of its `draws` rows.
  static __device__ __forceinline__ Share of_result(const Plan& plan, int64_t split, int64_t result,
                                                    int64_t results, int64_t draws) {
    const int64_t first = split * plan.span;
    return {first, 1, least(plan.span, draws * plan.tiles - first), result, results};
  }
};

// Calls body.set_row(row) and body.tile(tile) for the tiles of a share.
template <class Body>
__device__ __forceinline__ void for_each_tile(const Share& share, int64_t tiles, Body& body) {
  if (share.count <= 0) return;
  // Divided once; then the row and the tile advance by quotient and remainder.
  const int64_t passed = share.first < tiles ? 0 : share.first / tiles;
  const int64_t rows_of_step = share.step < tiles ? 0 : share.step / tiles;
  const int64_t row_step = rows_of_step * share.stride;
  // 2^31 tiles of a row or of a group would fill more than any memory.
  const int tile_step = static_cast<int>(share.step - rows_of_step * tiles), end = static_cast<int>(tiles);
  int64_t row = share.base + passed * share.stride;
  int tile = static_cast<int>(share.first - passed * tiles);
  bool next_row = true;
  VAE_FAST_NO_UNROLL
  for (int left = static_cast<int>(share.count); left > 0; --left) {
    if (next_row) body.set_row(row);
    body.tile(tile);
    row += row_step;
    tile += tile_step;
    next_row = row_step != 0;
    if (tile >= end) {
      tile -= end;
      row += share.stride;
      next_row = true;
    }
  }
}

// Elements between the last packet boundary and an address: packets start that far before the row.
template <int E, class P>
__device__ __forceinline__ int shift_of(const P* row) {
  return static_cast<int>(reinterpret_cast<uintptr_t>(row) / sizeof(P) % E);
}

// The elements of one tile of a row of `cols`: body.packets(starts, whole) gets the aligned starts of U
// packets of this lane and which of them lie wholly in the row, body.element(i) the ends that are left.
template <int E, int U, class Body>
__device__ __forceinline__ void walk_packets(const Place& place, int64_t cols, int64_t tile, int shift,
                                             Body& body) {
  const int64_t span = place.lanes * (E * packets_of_tile), first = tile * span - shift;
  if (first >= cols) return;
  VAE_FAST_NO_UNROLL
  for (int k = 0; k < packets_of_tile; k += U) {
    int64_t start[U];
    bool whole[U];
    VAE_FAST_UNROLL
    for (int u = 0; u < U; ++u) {
      start[u] = first + ((k + u) * place.lanes + place.lane) * E;
      whole[u] = start[u] >= 0 && start[u] + E <= cols;
    }
    body.packets(start, whole);
  }
  if (first >= 0 && first + span <= cols) return;
  VAE_FAST_NO_UNROLL
  for (int k = 0; k < packets_of_tile; ++k) {
    const int64_t start = first + (k * place.lanes + place.lane) * E;
    if (start >= 0 && start + E <= cols) continue;
    const int64_t end = start + E < cols ? start + E : cols;
    VAE_FAST_NO_UNROLL
    for (int64_t i = start < 0 ? 0 : start; i < end; ++i) body.element(i);
  }
}

// The same element by element, neighbouring ones in neighbouring lanes; `elements` of each lane.
template <class Body>
__device__ __forceinline__ void walk_elements(const Place& place, int64_t cols, int64_t tile, int elements,
                                              Body& body) {
  const int64_t span = place.lanes * elements, first = tile * span;
  const int64_t last = first + span < cols ? first + span : cols;
  VAE_FAST_NO_UNROLL
  for (int64_t i = first + place.lane; i < last; i += place.lanes) body.element(i);
}

}  // namespace cuda
}  // namespace vae_fast
