// How threads walk over rows: a group of lanes takes tile after tile, and within a tile each lane takes
// packets. Rows need not be aligned: packets start `shift` elements before the row, whole ones are moved
// at once, and the ends are done element by element.
#pragma once

#include "vector.cuh"

namespace vae_fast {
namespace cuda {

// The place of a thread.
struct Place {
  int lane, lanes;
  int64_t group, groups;  // in the grid

  __device__ __forceinline__ explicit Place(int lanes_of_group)
      : lane(static_cast<int>(threadIdx.x) % lanes_of_group),
        lanes(lanes_of_group),
        group((int64_t(blockIdx.x) * block_threads + threadIdx.x) / lanes_of_group),
        groups(int64_t(gridDim.x) * block_threads / lanes_of_group) {}
};

// Elements between the last packet boundary and an address.
template <int E>
__device__ __forceinline__ int shift_of(const char* p, DType dtype) {
  return static_cast<int>(reinterpret_cast<uintptr_t>(p) / static_cast<uintptr_t>(size_of(dtype)) % E);
}

// Calls body.set_row(row) and body.tile(tile) for all tiles of all rows, shared out among the groups.
template <class Body>
__device__ __forceinline__ void for_each_tile(const Place& place, int64_t rows, int64_t tiles, Body& body) {
  if (tiles == 0) return;
  // Divided once; then the row and the tile advance by quotient and remainder.
  int64_t row = place.group / tiles, tile = place.group % tiles;
  const int64_t row_step = place.groups / tiles, tile_step = place.groups % tiles;
  int64_t current = -1;
  while (row < rows) {
    if (row != current) body.set_row(row);
    current = row;
    body.tile(tile);
    row += row_step;
    tile += tile_step;
    if (tile >= tiles) {
      tile -= tiles;
      ++row;
    }
  }
}

// The elements of one tile of a row of `cols`: body.packets(starts, whole) gets the aligned starts of the
// packets of this lane and which of them lie wholly in the row, body.element(i) what is left. Without
// `aligned` operands there are only elements, neighbouring ones in neighbouring lanes.
template <int E, int U, class Body>
__device__ __forceinline__ void walk_tile(const Place& place, int64_t cols, int64_t tile, int shift,
                                          bool aligned, Body& body) {
  const int64_t span = int64_t(place.lanes) * E * U;
  if (!aligned) {
    const int64_t first = tile * span, last = first + span < cols ? first + span : cols;
    for (int64_t i = first + place.lane; i < last; i += place.lanes) body.element(i);
    return;
  }
  const int64_t first = tile * span - shift;
  if (first >= cols) return;
  int64_t start[U];
  bool whole[U];
  VAE_FAST_UNROLL
  for (int u = 0; u < U; ++u) {
    start[u] = first + (int64_t(u) * place.lanes + place.lane) * E;
    whole[u] = start[u] >= 0 && start[u] + E <= cols;
  }
  body.packets(start, whole);
  if (first < 0) {
    const int64_t head = E - shift < cols ? E - shift : cols;
    for (int64_t i = place.lane; i < head; i += place.lanes) body.element(i);
  }
  const int64_t end = cols - (cols + shift) % E;  // start of the broken last packet
  if (end < cols && end >= 0 && end >= first && end < first + span)
    for (int64_t i = end + place.lane; i < cols; i += place.lanes) body.element(i);
}

}  // namespace cuda
}  // namespace vae_fast
