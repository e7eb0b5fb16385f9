// How rows are shared out among threads: plain functions of shapes and dtypes (see Plan in kernels.h).
#pragma once

#include "kernels.h"

namespace vae_fast {
namespace cuda {

constexpr int warp_threads = 32;
constexpr int packets_of_tile = 2;       // of each lane
constexpr int blocks_per_processor = 4;  // resident at once

// Elements of a packet, the 16 bytes that a thread reads at once.
constexpr int packet_of(DType dtype) { return dtype == DType::float64 ? 2 : dtype == DType::float32 ? 4 : 8; }

// The same of a likelihood. Three streams of 16 bytes do not fit into 64 registers: 8 where there may be two
// parameters of two bytes.
constexpr int nll_packet_of(DType dtype, int parameters) {
  return parameters > 1 && packet_of(dtype) == 8 ? 4 : packet_of(dtype);
}

// The same of a KL, with up to eight streams.
constexpr int kl_packet_of(DType dtype) { return packet_of(dtype) == 8 ? 4 : packet_of(dtype); }

constexpr int noise_packet = 4;  // elements of a group of the noise (math/normal.h)

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A row may start up to a packet before its first element, so that packets are aligned.
inline int64_t tiles_of(int64_t cols, int packet, int lanes) {
  return cols ? ceil_div(cols + packet - 1, int64_t(lanes) * packet * packets_of_tile) : 0;
}

// Few enough threads that short rows keep all of them busy; the whole block for long ones.
inline int lanes_of(int64_t cols, int packet) {
  for (int lanes = 1; lanes <= warp_threads; lanes *= 2)
    if (tiles_of(cols, packet, lanes) <= 1) return lanes;
  return block_threads;
}

inline int64_t blocks_of(int64_t groups, int lanes, int64_t resident) {
  const int64_t blocks = ceil_div(groups * lanes, block_threads);
  return blocks < 1 ? 1 : blocks < resident ? blocks : resident;
}

// One result, or none: all tiles of all rows in one pool. `others` are elements of further terms.
inline Plan pooled(int64_t rows, int64_t cols, int packet, int64_t resident, int64_t others = 0) {
  Plan plan;
  plan.lanes = lanes_of(cols, packet);
  plan.elements = packet * packets_of_tile;
  plan.tiles = tiles_of(cols, packet, plan.lanes);
  const int64_t tiles = rows * plan.tiles, more = ceil_div(others, plan.lanes);
  plan.blocks = blocks_of(tiles > more ? tiles : more, plan.lanes, resident);
  return plan;
}

// One result for each row. Few long rows are split over many blocks; a long row among many others is
// left to a warp, which needs no barriers.
inline Plan by_row(int64_t rows, int64_t samples, int64_t cols, int packet, int64_t resident) {
  constexpr int64_t enough_rows = 2048, most_warp_tiles = 16, wanted_groups = 1024;
  Plan plan;
  plan.lanes = lanes_of(cols, packet);
  plan.elements = packet * packets_of_tile;
  if (plan.lanes == block_threads && rows >= enough_rows &&
      tiles_of(cols, packet, warp_threads) <= most_warp_tiles)
    plan.lanes = warp_threads;
  plan.tiles = tiles_of(cols, packet, plan.lanes);
  if (plan.lanes == block_threads && rows && rows < wanted_groups) {
    const int64_t wanted = ceil_div(wanted_groups, rows), available = samples * plan.tiles;
    plan.span = ceil_div(available, wanted);
    plan.splits = available < 1 ? 1 : ceil_div(available, plan.span);
  } else {
    plan.span = samples * plan.tiles;
  }
  plan.blocks = blocks_of(rows * plan.splits, plan.lanes, resident);
  return plan;
}

// How many groups share the draws of one row, so that many draws of few rows keep the device busy.
inline int64_t draw_groups_of(const Plan& plan, int64_t rows, int64_t samples) {
  constexpr int64_t enough_threads = 1 << 16;
  const int64_t threads = rows * plan.splits * plan.lanes;
  const int64_t wanted = threads ? ceil_div(enough_threads, threads) : 1;
  return wanted < samples ? wanted : samples;
}

constexpr int categories_of_lane = 4;  // at a time

inline int64_t power_of_two(int64_t n) {
  int64_t power = 1;
  while (power < n) power *= 2;
  return power;
}

// Variables of a categorical latent, each shared by as few lanes as hold its categories, a warp at most.
inline void by_variable(CategoricalArgs& args, int64_t resident) {
  const int64_t lanes = power_of_two(ceil_div(args.categories, categories_of_lane));
  args.lanes = static_cast<int>(lanes < warp_threads ? lanes : warp_threads);
  args.tiles = static_cast<int>(ceil_div(args.categories, int64_t(args.lanes) * categories_of_lane));
  args.plan.blocks = blocks_of(args.batch * args.variables, args.lanes, resident);
}

// The same with one result for each sample, whose variables share a team: part of a warp, or a block, or
// several of them where there are few samples.
inline void by_sample(CategoricalArgs& args, int64_t resident) {
  constexpr int64_t wanted_blocks = 1024;
  by_variable(args, resident);
  const int64_t team = power_of_two(args.variables) * args.lanes;
  args.plan.lanes = team <= warp_threads ? static_cast<int>(team) : block_threads;
  const int64_t groups = args.plan.lanes / args.lanes;
  if (args.plan.lanes == block_threads && args.batch && args.batch < wanted_blocks) {
    const int64_t wanted = ceil_div(wanted_blocks, args.batch), most = ceil_div(args.variables, groups);
    args.plan.splits = wanted < most ? wanted : most;
  }
  args.rounds = ceil_div(args.variables, groups * args.plan.splits);
  args.plan.blocks = blocks_of(args.batch * args.plan.splits, args.plan.lanes, resident);
}

}  // namespace cuda
}  // namespace vae_fast
