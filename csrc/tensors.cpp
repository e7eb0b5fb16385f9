#include "tensors.h"

#include <algorithm>
#include <numeric>

// The stable headers have it since PyTorch 2.13; newer ones pass on the message of what failed.
#ifndef STABLE_TORCH_ERROR_CODE_CHECK
#define STABLE_TORCH_ERROR_CODE_CHECK TORCH_ERROR_CODE_CHECK
#endif

namespace vae_fast {

DType dtype_of(const Tensor& t) {
  switch (t.scalar_type()) {
    case ScalarType::Float: return DType::float32;
    case ScalarType::Double: return DType::float64;
    case ScalarType::BFloat16: return DType::bfloat16;
    case ScalarType::Half: return DType::float16;
    case ScalarType::Byte: return DType::uint8;
    case ScalarType::Bool: return DType::boolean;
    case ScalarType::Short: return DType::int16;
    case ScalarType::Int: return DType::int32;
    case ScalarType::Long: return DType::int64;
    default: STD_TORCH_CHECK(false, "vae_fast: unsupported dtype");
  }
}

Device cpu_device() {
  static const Device cpu{aoti_torch_device_type_cpu(), 0};
  return cpu;
}

Device device_of(const Tensor& t) {
  Device device;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(t.get(), &device.type));
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(t.get(), &device.index));
  return device;
}

Tensor empty_strided(const Sizes& sizes, const Sizes& strides, ScalarType dtype, Device device) {
  AtenTensorHandle handle;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(static_cast<int64_t>(sizes.size()), sizes.data(),
                                                         strides.data(), static_cast<int32_t>(dtype),
                                                         device.type, device.index, &handle));
  return Tensor(handle);
}

Tensor empty(const Sizes& sizes, ScalarType dtype, Device device) {
  Sizes strides(sizes.size());
  int64_t stride = 1;
  for (size_t d = sizes.size(); d-- > 0;) {
    strides[d] = stride;
    stride *= std::max<int64_t>(sizes[d], 1);
  }
  return empty_strided(sizes, strides, dtype, device);
}

Sizes sizes_of(const Tensor& t) {
  const auto sizes = t.sizes();
  return Sizes(sizes.begin(), sizes.end());
}

int64_t event_of(const Tensor& t, int64_t lead) {
  const auto sizes = t.sizes();
  return std::accumulate(sizes.begin() + lead, sizes.end(), int64_t(1), std::multiplies<int64_t>());
}

namespace {

Sizes event_strides(const Tensor& t, int64_t lead) {
  const auto strides = t.strides();
  return Sizes(strides.begin() + lead, strides.end());
}

// Whether the event dimensions fill one run of memory, in whatever order.
bool fills_run(const Tensor& t, int64_t lead) {
  const auto sizes = t.sizes();
  const auto strides = t.strides();
  std::vector<size_t> order;
  for (size_t d = static_cast<size_t>(lead); d < sizes.size(); ++d)
    if (sizes[d] != 1) order.push_back(d);
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return strides[a] < strides[b]; });
  int64_t expected = 1;
  for (const size_t d : order) {
    if (strides[d] != expected) return false;
    expected *= sizes[d];
  }
  return true;
}

bool in_logical_order(const Tensor& t, int64_t lead) {
  const auto sizes = t.sizes();
  const auto strides = t.strides();
  int64_t expected = 1;
  for (size_t d = sizes.size(); d-- > static_cast<size_t>(lead);) {
    if (sizes[d] == 1) continue;
    if (strides[d] != expected) return false;
    expected *= sizes[d];
  }
  return true;
}

bool constant_rows(const Tensor& t, int64_t lead) {
  const auto sizes = t.sizes();
  const auto strides = t.strides();
  bool constant = false;
  for (size_t d = static_cast<size_t>(lead); d < sizes.size(); ++d) {
    if (sizes[d] == 1) continue;
    if (strides[d] != 0) return false;
    constant = true;
  }
  return constant;
}

// The common stride of the leading dimensions as one row index; false where there is none.
bool row_stride_of(const Tensor& t, int64_t lead, int64_t* stride) {
  const auto sizes = t.sizes();
  const auto strides = t.strides();
  *stride = 0;
  int64_t expected = -1;
  for (size_t d = static_cast<size_t>(lead); d-- > 0;) {
    if (sizes[d] == 1) continue;
    if (expected < 0)
      *stride = strides[d];
    else if (strides[d] != expected)
      return false;
    expected = strides[d] * sizes[d];
  }
  return true;
}

}  // namespace

RowLayout::RowLayout(const Tensor& leader, int64_t lead) : device_(device_of(leader)) {
  if (!in_logical_order(leader, lead) && fills_run(leader, lead)) permuted_ = event_strides(leader, lead);
}

bool RowLayout::in_order(const Tensor& t, int64_t lead) const {
  if (permuted_.empty()) return in_logical_order(t, lead);
  const auto sizes = t.sizes();
  const auto strides = t.strides();
  for (size_t e = 0; e < permuted_.size(); ++e) {
    const size_t d = e + static_cast<size_t>(lead);
    if (sizes[d] != 1 && strides[d] != permuted_[e]) return false;
  }
  return true;
}

void RowLayout::require(const Tensor& other, int64_t lead) {
  if (!permuted_.empty() && !constant_rows(other, lead) && !in_order(other, lead)) permuted_.clear();
}

Operand RowLayout::rows(const Tensor& t, int64_t lead) {
  int64_t row_stride;
  const bool constant = constant_rows(t, lead);
  const bool viewable = (constant || in_order(t, lead)) && row_stride_of(t, lead, &row_stride);
  if (viewable) return {t.data_ptr(), dtype_of(t), row_stride, constant ? 0 : 1};
  // Rows of a permuted layout whose leading dimensions do not collapse are copied row by row in place of
  // a reordering: the copy keeps the permuted strides.
  Tensor copy =
      permuted_.empty() ? torch::stable::contiguous(t) : allocate(sizes_of(t), lead, t.scalar_type());
  if (!permuted_.empty()) torch::stable::copy_(copy, t);
  kept_.push_back(copy);
  row_stride_of(copy, lead, &row_stride);
  return {copy.data_ptr(), dtype_of(copy), row_stride, 1};
}

Tensor RowLayout::allocate(const Sizes& sizes, int64_t lead, ScalarType dtype) const {
  if (permuted_.empty()) return empty(sizes, dtype, device_);
  Sizes strides(sizes.size());
  int64_t stride = std::accumulate(sizes.begin() + lead, sizes.end(), int64_t(1), std::multiplies<int64_t>());
  for (size_t d = static_cast<size_t>(lead); d-- > 0;) {
    strides[d] = stride;
    stride *= std::max<int64_t>(sizes[d], 1);
  }
  std::copy(permuted_.begin(), permuted_.end(), strides.begin() + lead);
  return empty_strided(sizes, strides, dtype, device_);
}

Operand dense(const Tensor& t, int64_t cols) { return {t.data_ptr(), dtype_of(t), cols, 1}; }

Operand one_element(const Tensor& t) { return {t.data_ptr(), dtype_of(t), 0, 0}; }

Operand per_row(const Tensor& t) { return {t.data_ptr(), dtype_of(t), t.stride(0), 0}; }

}  // namespace vae_fast
