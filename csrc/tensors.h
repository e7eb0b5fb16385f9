// Between PyTorch's stable tensors and the kernels' operands, on any device: views as [rows, cols] and
// allocation.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <optional>
#include <vector>

#include "operand.h"

namespace vae_fast {

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

struct Device {
  int32_t type, index;
};
Device cpu_device();
Device device_of(const Tensor& t);

// Uninitialised; contiguous unless strides are given.
Tensor empty(const Sizes& sizes, ScalarType dtype, Device device = cpu_device());
Tensor empty_strided(const Sizes& sizes, const Sizes& strides, ScalarType dtype, Device device);
Sizes sizes_of(const Tensor& t);

// The number of elements of the dimensions behind the first `lead` ones.
int64_t event_of(const Tensor& t, int64_t lead = 1);

// How the elements of a row lie in memory: in logical order, or in another dense order (channels last)
// that all tensors of a call share. The strides are those of the event dimensions.
class RowLayout {
 public:
  // `lead` dimensions are rows, the rest events.
  RowLayout(const Tensor& leader, int64_t lead);
  // Falls back to logical order unless `other` has the leader's order or is constant along its rows.
  void require(const Tensor& other, int64_t lead);
  // Views a tensor as [rows, cols]; copies it where its strides allow no view.
  Operand rows(const Tensor& t, int64_t lead);
  // A fresh tensor of the given sizes in this layout, on the leader's device.
  Tensor allocate(const Sizes& sizes, int64_t lead, ScalarType dtype) const;

 private:
  bool in_order(const Tensor& t, int64_t lead) const;

  Device device_;
  Sizes permuted_;  // empty: logical order
  std::vector<Tensor> kept_;
};

// Views a tensor that the kernel reads or writes densely.
Operand dense(const Tensor& t, int64_t cols);

// Views a tensor of one element, and one with a value for each row.
Operand one_element(const Tensor& t);
Operand per_row(const Tensor& t);

}  // namespace vae_fast
