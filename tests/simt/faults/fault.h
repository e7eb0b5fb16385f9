// What the small kernels here have in common. Each file has a kernel with a place where a fault can be
// planted, and a function check(planted) that returns null or what is wrong, as far as values show it.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "simt.h"

using vae_fast::cuda::launch;

constexpr int block_threads = 128;

// 1, 2, 3, ...
template <class T = int>
inline std::vector<T> counting(int n) {
  std::vector<T> values(static_cast<size_t>(n));
  std::iota(values.begin(), values.end(), T(1));
  return values;
}

inline const char* wrong_unless(bool right) { return right ? nullptr : "wrong values"; }
