#include "session.h"

#include <map>
#include <mutex>
#include <utility>

#include "device.h"

namespace vae_fast {
namespace cuda {

namespace {

constexpr int64_t kept_tickets = 1024;  // more than any plan asks for (plan.h, by_row)

Tensor zeros(int64_t tickets, Device device, void* stream) {
  Tensor fresh = empty({tickets}, ScalarType::Int, device);
  Session::check(clear(fresh.data_ptr(), static_cast<size_t>(tickets) * sizeof(unsigned), stream));
  return fresh;
}

// Kernels of one stream run one after the other and leave their tickets at zero, so a stream needs one set
// for ever. A captured graph may be replayed on any stream: it gets, and clears, tickets of its own.
Tensor tickets_of(Device device, void* stream, int64_t count) {
  if (is_capturing(stream)) return zeros(count, device, stream);
  static std::mutex mutex;
  // Never destroyed: at exit the allocator may be gone before us.
  static auto* kept = new std::map<std::pair<int32_t, void*>, Tensor>;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto key = std::make_pair(device.index, stream);
  const auto found = kept->find(key);
  if (found != kept->end()) return found->second;
  return kept->emplace(key, zeros(kept_tickets, device, stream)).first->second;
}

}  // namespace

Session::Session(const Tensor& leader) : device_(device_of(leader)) {
  if (device_.type != cpu_device().type) guard_.emplace(device_.index);
  stream_ = current_stream(device_.index);
  resident_ = cuda::resident_blocks(device_.index);
}

Shared Session::share(int64_t doubles, int64_t tickets) {
  STD_TORCH_CHECK(tickets <= kept_tickets, "vae_fast: a plan asks for too many tickets");
  Shared shared;
  if (doubles > 0) {
    partial_ = empty({doubles}, ScalarType::Double, device_);
    shared.partial = static_cast<double*>(partial_->data_ptr());
  }
  if (tickets > 0) {
    tickets_ = tickets_of(device_, stream_, tickets);
    shared.tickets = static_cast<unsigned*>(tickets_->data_ptr());
  }
  return shared;
}

void Session::check(const char* error) {
  STD_TORCH_CHECK(!error, "vae_fast: a CUDA kernel did not launch: ", error);
}

}  // namespace cuda
}  // namespace vae_fast
