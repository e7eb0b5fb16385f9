// Buffers of any dtype on the heap, exactly as large as needed, and comparison with what is expected.
#pragma once

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "../../csrc/cuda/packets.h"
#include "../../csrc/math/convert.h"

namespace vae_fast {
namespace cuda {

inline std::mt19937_64 generator;
inline int64_t checked = 0;
inline bool spoil = false;  // the first expected value is made wrong: the program must then fail

inline double normal_number() { return std::normal_distribution<double>()(generator); }

[[noreturn]] inline void fail(const std::string& what, int64_t index, double got, double want) {
  fprintf(stderr, "%s: element %lld is %.9g, expected %.9g\n", what.c_str(), static_cast<long long>(index),
          got, want);
  exit(1);
}

// Elements on the heap, `offset` of them before the first one that is used.
class Buffer {
 public:
  Buffer(DType dtype, int64_t count, int offset)
      : dtype_(dtype), count_(count), size_(static_cast<size_t>(size_of(dtype))) {
    // malloc aligns to 16 bytes, and sanitizers see every byte beyond the last element.
    const size_t bytes = static_cast<size_t>(count + offset) * size_;
    memory_.reset(static_cast<char*>(malloc(bytes ? bytes : 1)));
    memset(memory_.get(), 0xff, bytes);  // not a number
    first_ = memory_.get() + static_cast<size_t>(offset) * size_;
  }

  Operand matrix(int64_t cols) const { return {first_, dtype_, cols, 1}; }
  Operand per_row() const { return {first_, dtype_, 1, 0}; }
  Operand one() const { return {first_, dtype_, 0, 0}; }
  int64_t count() const { return count_; }
  DType dtype() const { return dtype_; }

  double get(int64_t i) const {
    const char* p = first_ + static_cast<size_t>(i) * size_;
    switch (dtype_) {
      case DType::float32: return *reinterpret_cast<const float*>(p);
      case DType::float64: return *reinterpret_cast<const double*>(p);
      case DType::bfloat16: return portable::bfloat16_to_float(*reinterpret_cast<const uint16_t*>(p));
      case DType::float16: return portable::float16_to_float(*reinterpret_cast<const uint16_t*>(p));
      case DType::unit8: return *reinterpret_cast<const uint8_t*>(p) / 255.0;
      default: return *reinterpret_cast<const uint8_t*>(p);
    }
  }

  void set(int64_t i, double x) {
    char* p = first_ + static_cast<size_t>(i) * size_;
    const float single = static_cast<float>(x);
    switch (dtype_) {
      case DType::float32: *reinterpret_cast<float*>(p) = single; break;
      case DType::float64: *reinterpret_cast<double*>(p) = x; break;
      case DType::bfloat16: *reinterpret_cast<uint16_t*>(p) = portable::float_to_bfloat16(single); break;
      case DType::float16: *reinterpret_cast<uint16_t*>(p) = portable::float_to_float16(single); break;
      case DType::unit8:
      case DType::uint8: *reinterpret_cast<uint8_t*>(p) = static_cast<uint8_t>(generator() % 256); break;
      default: *reinterpret_cast<uint8_t*>(p) = static_cast<uint8_t>(generator() % 2); break;
    }
  }

  Buffer& fill() {
    for (int64_t i = 0; i < count_; ++i) set(i, normal_number());
    return *this;
  }

 private:
  struct Free {
    void operator()(char* p) const { free(p); }
  };
  DType dtype_;
  int64_t count_;
  size_t size_;
  std::unique_ptr<char, Free> memory_;
  char* first_;
};

// One rounding of the result, and what its terms may have: see tests/support/compare.py.
inline double tolerance(DType dtype, double magnitude) {
  const double relative = dtype == DType::float64    ? 1e-13
                          : dtype == DType::float32  ? 1e-6
                          : dtype == DType::bfloat16 ? 0x1p-8
                                                     : 0x1p-10;
  return relative * magnitude + (dtype == DType::float16 ? 0x1p-24 : 1e-44);
}

inline void expect(const std::string& what, const Buffer& got, int64_t i, double want, double magnitude) {
  if (spoil && checked == 0) want += 1 + magnitude;
  if (got.dtype() == DType::float16 && fabs(want) > 65000) return;  // beyond its range, or nearly so
  ++checked;
  if (!(fabs(got.get(i) - want) <= tolerance(got.dtype(), magnitude + fabs(want))))
    fail(what, i, got.get(i), want);
}

inline void launched(const char* error) {
  if (!error) return;
  fprintf(stderr, "launch: %s\n", error);
  exit(1);
}

// Partial sums and tickets as Session::share gives them.
struct Workspace {
  explicit Workspace(int64_t doubles, int64_t tickets)
      : partial(static_cast<size_t>(doubles), NAN), ticket(static_cast<size_t>(tickets), 0u) {}
  Shared shared() { return {partial.data(), 0, ticket.data()}; }
  ~Workspace() {
    for (const unsigned t : ticket)
      if (t != 0) fail("ticket", 0, t, 0);
  }
  std::vector<double> partial;
  std::vector<unsigned> ticket;
};

}  // namespace cuda
}  // namespace vae_fast
