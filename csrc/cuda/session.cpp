#include "session.h"

#include <map>
#include <mutex>

#include "device.h"

namespace vae_fast {
namespace cuda {

namespace {

// The slot of a stream's tickets, or -1 where there are too many streams.
int slot_of(int32_t device, void* stream) {
  static std::mutex mutex;
  static std::map<int32_t, std::map<void*, int>> slots;
  const std::lock_guard<std::mutex> lock(mutex);
  std::map<void*, int>& of_device = slots[device];
  const auto found = of_device.find(stream);
  if (found != of_device.end()) return found->second;
  const int next = static_cast<int>(of_device.size());
  if (next == ticket_slots) return -1;
  of_device.emplace(stream, next);
  return next;
}

}  // namespace

Session::Session(const Tensor& leader) : device_(device_of(leader)) {
  if (device_.type != cpu_device().type) guard_.emplace(device_.index);
  stream_ = current_stream(device_.index);
  resident_ = cuda::resident_blocks(device_.index);
}

Shared Session::share(int64_t doubles, int64_t tickets) {
  STD_TORCH_CHECK(tickets <= most_tickets, "vae_fast: a plan asks for too many tickets");
  Shared shared;
  if (doubles > 0) {
    partial_ = empty({doubles}, ScalarType::Double, device_);
    shared.partial = static_cast<double*>(partial_->data_ptr());
  }
  if (tickets > 0) {
    // A captured graph may be replayed on any stream: it brings, and clears, tickets of its own.
    const int slot = is_capturing(stream_) ? -1 : slot_of(device_.index, stream_);
    if (slot >= 0) {
      shared.slot = slot;
    } else {
      tickets_ = empty({tickets}, ScalarType::Int, device_);
      shared.tickets = static_cast<unsigned*>(tickets_->data_ptr());
      check(clear(shared.tickets, static_cast<size_t>(tickets) * sizeof(unsigned), stream_));
    }
  }
  return shared;
}

void Session::check(const char* error) {
  STD_TORCH_CHECK(!error, "vae_fast: a CUDA kernel did not launch: ", error);
}

}  // namespace cuda
}  // namespace vae_fast
