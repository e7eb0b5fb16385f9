#include "host.h"

#include "../math/convert.h"

namespace vae_fast {
namespace cpu {

Elements::Elements(const Tensor& t)
    : data_(t.data_ptr()), dtype_(dtype_of(t)), stride_(t.dim() ? t.stride(0) : 1) {}

Elements::Elements(const Operand& rows) : data_(rows.data), dtype_(rows.dtype), stride_(rows.row_stride) {}

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
