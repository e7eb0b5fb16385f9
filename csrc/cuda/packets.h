// Whether the operands of a call allow packets: all of the kernel's own dtypes, unit column strides, and in
// every row aligned where the leading operand is.
#pragma once

#include "plan.h"

namespace vae_fast {
namespace cuda {

constexpr int size_of(DType dtype) {
  switch (dtype) {
    case DType::float64:
    case DType::int64: return 8;
    case DType::float32:
    case DType::int32: return 4;
    case DType::bfloat16:
    case DType::float16:
    case DType::int16: return 2;
    default: return 1;
  }
}

class PacketCheck {
 public:
  // Packets of E elements are aligned where element `first` + row * `step` of a matrix is a multiple of E.
  PacketCheck(int packet, int64_t first, int64_t step) : packet_(packet), first_(first), step_(step) {}
  PacketCheck(int packet, const Operand& leader)
      : PacketCheck(packet, element_number(leader), leader.row_stride) {}

  // An operand with a row for each row of the leader, of one of the dtypes; absent ones are no obstacle.
  PacketCheck& allow(const Operand& a, DType dtype) {
    if (!a.data) return *this;
    // Wider elements than 16 bytes a packet take several loads, each aligned by itself.
    const int64_t alignment = packet_ * size_of(dtype) > 16 ? 16 / size_of(dtype) : packet_;
    ok_ = ok_ && a.dtype == dtype && a.col_stride == 1 && (element_number(a) - first_) % alignment == 0 &&
          (a.row_stride - step_) % alignment == 0;
    return *this;
  }

  PacketCheck& require(bool condition) {
    ok_ = ok_ && condition;
    return *this;
  }

  bool ok() const { return ok_; }

 private:
  static int64_t element_number(const Operand& a) {
    return static_cast<int64_t>(reinterpret_cast<uintptr_t>(a.data) /
                                static_cast<unsigned>(size_of(a.dtype)));
  }

  int64_t packet_, first_, step_;
  bool ok_ = true;
};

}  // namespace cuda
}  // namespace vae_fast
