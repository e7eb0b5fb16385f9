// What only operators of the CPU do: the parallel loop, partial sums, and single elements by value.
#pragma once

#include "../tensors.h"
#include "kernels.h"

namespace vae_fast {
namespace cpu {

// Partial sums of the units of a split, from PyTorch's allocator.
class Workspace {
 public:
  explicit Workspace(int64_t count)
      : tensor_(empty({count}, ScalarType::Double)), data_(static_cast<double*>(tensor_.data_ptr())) {}
  double* data() const { return data_; }

 private:
  Tensor tensor_;
  double* data_;
};

template <class Function>
inline void parallel(int64_t units, int64_t elements_per_unit, const Function& function) {
  constexpr int64_t grain_elements = 1 << 13;
  const int64_t grain =
      elements_per_unit >= grain_elements ? 1 : grain_elements / (elements_per_unit + 1) + 1;
  torch::stable::parallel_for(0, units, grain, function);
}

// Single elements of a floating-point tensor of at most one dimension.
class Elements {
 public:
  explicit Elements(const Tensor& t);
  explicit Elements(const Operand& rows);  // one element a row
  double get(int64_t index) const;
  void set(int64_t index, double value) const;

 private:
  void* data_;
  DType dtype_;
  int64_t stride_;
};

inline double scalar_of(const Tensor& t) { return Elements(t).get(0); }
inline void fill_scalar(const Tensor& t, double value) { Elements(t).set(0, value); }

}  // namespace cpu
}  // namespace vae_fast
