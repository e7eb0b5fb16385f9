#include "tensors.h"

#include <algorithm>
#include <numeric>

#include "piece.h"

namespace vae_fast {
namespace cpu {

DType dtype_of(const Tensor& t) {
  switch (t.scalar_type()) {
    case ScalarType::Float: return DType::float32;
    case ScalarType::Double: return DType::float64;
    case ScalarType::BFloat16: return DType::bfloat16;
    case ScalarType::Half: return DType::float16;
    case ScalarType::Byte: return DType::uint8;
    case ScalarType::Bool: return DType::boolean;
    default: STD_TORCH_CHECK(false, "vae_fast: unsupported dtype");
  }
}

Tensor empty_strided(const Sizes& sizes, const Sizes& strides, ScalarType dtype) {
  AtenTensorHandle handle;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(static_cast<int64_t>(sizes.size()), sizes.data(),
                                                         strides.data(), static_cast<int32_t>(dtype),
                                                         aoti_torch_device_type_cpu(), 0, &handle));
  return Tensor(handle);
}

Tensor empty(const Sizes& sizes, ScalarType dtype) {
  Sizes strides(sizes.size());
  int64_t stride = 1;
  for (size_t d = sizes.size(); d-- > 0;) {
    strides[d] = stride;
    stride *= std::max<int64_t>(sizes[d], 1);
  }
  return empty_strided(sizes, strides, dtype);
}

Sizes sizes_of(const Tensor& t) {
  const auto sizes = t.sizes();
  return Sizes(sizes.begin(), sizes.end());
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

RowLayout::RowLayout(const Tensor& leader, int64_t lead) {
  if (!in_logical_order(leader, lead) && fills_run(leader, lead)) permuted_ = event_strides(leader, lead);
}

void RowLayout::require(const Tensor& other, int64_t lead) {
  if (permuted_.empty() || constant_rows(other, lead)) return;
  const auto sizes = other.sizes();
  const auto strides = other.strides();
  for (size_t e = 0; e < permuted_.size(); ++e) {
    const size_t d = e + static_cast<size_t>(lead);
    if (sizes[d] != 1 && strides[d] != permuted_[e]) {
      permuted_.clear();
      return;
    }
  }
}

Operand RowLayout::rows(const Tensor& t, int64_t lead) {
  int64_t row_stride;
  const bool constant = constant_rows(t, lead);
  const bool viewable =
      (constant || !permuted_.empty() || in_logical_order(t, lead)) && row_stride_of(t, lead, &row_stride);
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
  if (permuted_.empty()) return empty(sizes, dtype);
  Sizes strides(sizes.size());
  int64_t stride = std::accumulate(sizes.begin() + lead, sizes.end(), int64_t(1), std::multiplies<int64_t>());
  for (size_t d = static_cast<size_t>(lead); d-- > 0;) {
    strides[d] = stride;
    stride *= std::max<int64_t>(sizes[d], 1);
  }
  std::copy(permuted_.begin(), permuted_.end(), strides.begin() + lead);
  return empty_strided(sizes, strides, dtype);
}

Operand dense(const Tensor& t, int64_t cols) { return {t.data_ptr(), dtype_of(t), cols, 1}; }

Elements::Elements(const Tensor& t)
    : data_(t.data_ptr()), dtype_(dtype_of(t)), stride_(t.dim() ? t.stride(0) : 1) {}

double Elements::get(int64_t index) const {
  const int64_t offset = index * stride_;
  switch (dtype_) {
    case DType::float32: return static_cast<const float*>(data_)[offset];
    case DType::float64: return static_cast<const double*>(data_)[offset];
    case DType::bfloat16: return portable::bfloat16_to_float(static_cast<const uint16_t*>(data_)[offset]);
    case DType::float16: return portable::float16_to_float(static_cast<const uint16_t*>(data_)[offset]);
    default: STD_TORCH_CHECK(false, "vae_fast: expected a floating-point tensor");
  }
}

void Elements::set(int64_t index, double value) const {
  const int64_t offset = index * stride_;
  const float single = static_cast<float>(value);
  switch (dtype_) {
    case DType::float32: static_cast<float*>(data_)[offset] = single; break;
    case DType::float64: static_cast<double*>(data_)[offset] = value; break;
    case DType::bfloat16: static_cast<uint16_t*>(data_)[offset] = portable::float_to_bfloat16(single); break;
    case DType::float16: static_cast<uint16_t*>(data_)[offset] = portable::float_to_float16(single); break;
    default: STD_TORCH_CHECK(false, "vae_fast: expected a floating-point tensor");
  }
}

}  // namespace cpu
}  // namespace vae_fast
