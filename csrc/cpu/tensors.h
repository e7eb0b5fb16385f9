// Between PyTorch's stable tensors and the kernels' operands: views as [rows, cols], allocation, and the
// parallel loop. Everything here works on CPU tensors.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <optional>
#include <vector>

#include "kernels.h"

namespace vae_fast {
namespace cpu {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using OptionalTensor = std::optional<Tensor>;
using Sizes = std::vector<int64_t>;

DType dtype_of(const Tensor& t);

inline bool is_double(const Tensor& t) { return t.scalar_type() == ScalarType::Double; }

// The dtype of sums and losses: float64 for double inputs, else float32.
inline ScalarType accumulate_type(bool any_double) {
  return any_double ? ScalarType::Double : ScalarType::Float;
}

// Uninitialised; contiguous unless strides are given.
Tensor empty(const Sizes& sizes, ScalarType dtype);
Tensor empty_strided(const Sizes& sizes, const Sizes& strides, ScalarType dtype);
Sizes sizes_of(const Tensor& t);

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

// How the elements of a row lie in memory: in logical order, or in another dense order (channels last)
// that all tensors of a call share. The strides are those of the event dimensions.
class RowLayout {
 public:
  // `lead` dimensions are rows, the rest events.
  RowLayout(const Tensor& leader, int64_t lead);
  // Falls back to logical order unless `other` has the leader's order or is constant along its rows.
  void require(const Tensor& other, int64_t lead);
  // Views a tensor as [rows, cols]; copies it into `kept` where its strides allow no view.
  Operand rows(const Tensor& t, int64_t lead);
  // A fresh tensor of the given sizes in this layout.
  Tensor allocate(const Sizes& sizes, int64_t lead, ScalarType dtype) const;

 private:
  Sizes permuted_;  // empty: logical order
  std::vector<Tensor> kept_;
};

// Views a tensor that the kernel reads or writes densely.
Operand dense(const Tensor& t, int64_t cols);

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
