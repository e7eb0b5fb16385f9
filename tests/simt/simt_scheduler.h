// Runs a grid: blocks one after the other, the threads of a block as fibers that take turns. A thread runs
// until it waits for others; a schedule says who is next. Threads that wait for each other in vain, or that
// meet in different primitives, end the process with a message.
#pragma once

#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <memory>
#include <mutex>
#include <numeric>
#include <string>
#include <vector>

#include "simt_fiber.h"
#include "simt_schedule.h"

namespace simt {

struct Index {
  unsigned x = 0, y = 0, z = 0;
};
struct Extent {
  unsigned x = 1, y = 1, z = 1;
};
inline Index thread_index, block_index;
inline Extent block_extent, grid_extent;

[[noreturn]] __attribute__((format(printf, 1, 2))) inline void fail(const char* format, ...) {
  fprintf(stderr, "simt: block %u: ", block_index.x);
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  fflush(stderr);
  abort();
}

// `__shared__` variables are thread-local ones of the program or library that holds this code: it is the
// only storage class that the linker gathers in one place, templates included. Other thread-local
// variables in the same program would be spoilt too.
struct __attribute__((visibility("hidden"))) SharedMemory {
  char* data = nullptr;
  size_t size = 0;

  static SharedMemory find() {
    static thread_local char in_here;
    in_here = 1;  // the loader may not have given this OS thread its copies yet
    SharedMemory memory;
    memory.data = &in_here;
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* out) {
          SharedMemory& found = *static_cast<SharedMemory*>(out);
          char* const data = static_cast<char*>(info->dlpi_tls_data);
          for (int i = 0; data && i < info->dlpi_phnum; ++i) {
            const size_t size = info->dlpi_phdr[i].p_memsz;
            if (info->dlpi_phdr[i].p_type != PT_TLS || found.data < data || found.data >= data + size)
              continue;
            found = {data, size};
            return 1;
          }
          return 0;
        },
        &memory);
    return memory;
  }

  // All bits set: not a number, and neither a count of zero nor what the block before has left.
  void spoil() const { memset(data, 0xff, size); }
};

// Where threads wait for each other.
struct Meeting {
  const char* kind = nullptr;  // the primitive
  uint32_t mask = 0;           // the lanes, if of a warp
  int expected = 0, arrived = 0;
  uint64_t votes = 0;
  Clock clock;
};

// What a thread brings to a meeting.
struct Offer {
  uint64_t value = 0;
  int source = -1;       // thread whose value it wants; -1: the sum of all values
  bool ordered = false;  // whether the primitive orders memory accesses, which shuffles and votes do not
};

struct Thread {
  Fiber fiber;
  int number = 0;
  bool returned = false;
  const Meeting* waits = nullptr;
  Offer offer;
  uint64_t received = 0;
};

class Scheduler {
 public:
  // Never destroyed: its fibers have no end.
  static Scheduler& get() {
    static Scheduler* scheduler = new Scheduler;
    return *scheduler;
  }

  int current() const { return current_->number; }

  // Runs body(context) in every thread. Returns null or, as CUDA does, why nothing was launched.
  const char* run(int64_t blocks, int threads, void (*body)(void*), void* context) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (blocks < 1 || blocks > INT32_MAX || threads < 1 || threads > most_threads)
      return "invalid configuration argument";
    const char* variable = getenv("SIMT_SCHEDULE");
    schedule_ = {};
    if (!schedule_.parse(variable ? variable : "forward"))
      return "SIMT_SCHEDULE is none of forward, reverse, random:SEED and starve:WARP (a warp from 0 to 31)";

    body_ = body;
    context_ = context;
    Unwatched unwatched;
    host_.adopt();
    count_ = threads;
    block_extent = {static_cast<unsigned>(threads), 1, 1};
    grid_extent = {static_cast<unsigned>(blocks), 1, 1};
    create_threads();
    for_each_block(blocks);
    return nullptr;
  }

  // Waits for all threads of the block.
  __attribute__((noinline)) uint64_t meet_block(const char* kind, Offer offer) {
    Unwatched unwatched;
    return meet(of_block_, kind, 0, count_, offer);
  }

  // Waits for the lanes of a mask.
  __attribute__((noinline)) uint64_t meet_warp(const char* kind, uint32_t mask, Offer offer) {
    Unwatched unwatched;
    const int number = current_->number;
    if (!(mask >> (number % warp_lanes) & 1))
      fail("thread %d calls %s with mask 0x%08x, which does not hold its own lane", number, kind, mask);
    if (offer.source >= 0 && !(mask >> (offer.source % warp_lanes) & 1))
      fail("thread %d reads lane %d by %s, which its mask 0x%08x does not hold", number,
           offer.source % warp_lanes, kind, mask);
    return meet(of_mask(of_warps_[number / warp_lanes], mask), kind, mask, __builtin_popcount(mask), offer);
  }

  // Lets others run.
  __attribute__((noinline)) void yield() {
    Unwatched unwatched;
    make_ready(*current_);
    run_next();
  }

  // Fences order those who pass one after those who passed one before: what CUDA promises for the threads
  // that an atomic operation between the fences connects, and too much for others.
  void fence() {
    acquire(fence_clock_);
    release(fence_clock_);
  }

 private:
  Scheduler() = default;

  // A fiber serves the threads of one number in all blocks of all launches.
  static void live() {
    Scheduler& self = get();
    self.current_->fiber.arrive();
    for (;;) {
      acquire(self.block_start_);
      self.body_(self.context_);
      release(self.block_end_);
      Unwatched unwatched;
      self.current_->returned = true;
      self.run_next();
    }
  }

  void create_threads() {
    while (static_cast<int>(threads_.size()) < count_) {
      const int number = static_cast<int>(threads_.size());
      const std::string name = "CUDA thread " + std::to_string(number);
      threads_.push_back(std::make_unique<Thread>());
      threads_.back()->number = number;
      if (!threads_.back()->fiber.create(name.c_str(), live))
        fail("no memory for the stacks of %d threads", count_);
    }
  }

  void for_each_block(int64_t blocks) {
    const SharedMemory shared = SharedMemory::find();
    std::vector<unsigned> order;
    if (schedule_.random) {
      order.resize(static_cast<size_t>(blocks));
      std::iota(order.begin(), order.end(), 0u);
      for (size_t i = order.size(); i > 1; --i)
        std::swap(order[i - 1], order[schedule_.draw(static_cast<unsigned>(i))]);
    }
    for (int64_t i = 0; i < blocks; ++i) {
      block_index.x = schedule_.random    ? order[static_cast<size_t>(i)]
                      : schedule_.reverse ? static_cast<unsigned>(blocks - 1 - i)
                                          : static_cast<unsigned>(i);
      shared.spoil();
      run_block();
    }
  }

  void run_block() {
    last_place_ = count_ - 1;
    for (int i = 0; i < count_; ++i) {
      threads_[i]->returned = false;
      make_ready(*threads_[i]);
    }
    current_ = nullptr;
    start_clock(block_start_);
    run_next();
    acquire(block_end_);
  }

  int place_of(int number) const { return schedule_.reverse ? count_ - 1 - number : number; }

  Places& ready(int number) { return number / warp_lanes == schedule_.starved ? starved_ : ready_; }

  void make_ready(Thread& thread) {
    thread.waits = nullptr;
    ready(thread.number).insert(place_of(thread.number));
  }

  // The current thread has noted what it waits for; returns when it may go on.
  void run_next() {
    Thread* const before = current_;
    const int from = schedule_.random ? static_cast<int>(schedule_.draw(count_)) : (last_place_ + 1) % count_;
    int place = ready_.next(from);
    if (place < 0) place = starved_.next(from);
    if (place < 0) {
      for (int i = 0; i < count_; ++i)
        if (!threads_[i]->returned) fail_deadlock();
      before->fiber.switch_to(host_);
      return;
    }
    last_place_ = place;
    const int number = place_of(place);
    ready(number).erase(place);
    current_ = threads_[number].get();
    thread_index.x = static_cast<unsigned>(number);
    if (current_ != before) (before ? before->fiber : host_).switch_to(current_->fiber);
  }

  // One of the meetings of a warp. Several can be open, also with masks that overlap: a lane may still be
  // busy with some others while the rest of the warp already waits for it.
  static Meeting& of_mask(Meeting (&meetings)[warp_lanes], uint32_t mask) {
    Meeting* free = nullptr;
    for (Meeting& meeting : meetings) {
      if (meeting.arrived && meeting.mask == mask) return meeting;
      if (!meeting.arrived && !free) free = &meeting;
    }
    return *free;
  }

  uint64_t meet(Meeting& meeting, const char* kind, uint32_t mask, int expected, const Offer& offer) {
    Thread& self = *current_;
    if (meeting.arrived == 0) {
      meeting.kind = kind;
      meeting.mask = mask;
      meeting.expected = expected;
      meeting.votes = 0;
      start_clock(meeting.clock);
    } else if (strcmp(meeting.kind, kind) != 0 || meeting.mask != mask) {
      fail("mismatch: thread %d calls %s where others wait in %s", self.number, name_of(kind, mask).c_str(),
           name_of(meeting.kind, meeting.mask).c_str());
    }
    if (offer.ordered) release(meeting.clock);
    self.offer = offer;
    self.waits = &meeting;
    meeting.votes += offer.value;
    if (++meeting.arrived == meeting.expected) close(meeting, self.number);
    run_next();
    return self.received;
  }

  // Everybody has come; `number` is one of them. What they came for is handed over before anybody leaves,
  // since who leaves first may come to the next meeting before others have left this one.
  void close(Meeting& meeting, int number) {
    const int first = meeting.mask ? number / warp_lanes * warp_lanes : 0;
    const int last = meeting.mask ? first + warp_lanes : count_;
    for (int i = first; i < last; ++i) {
      if (meeting.mask && !(meeting.mask >> (i - first) & 1)) continue;
      Thread& thread = *threads_[i];
      thread.received = thread.offer.source < 0 ? meeting.votes : threads_[thread.offer.source]->offer.value;
      if (thread.offer.ordered) thread.fiber.acquire_later(meeting.clock);
      make_ready(thread);
    }
    meeting.arrived = 0;
  }

  static std::string name_of(const char* kind, uint32_t mask) {
    char text[80];
    snprintf(text, sizeof text, mask ? "%s (mask 0x%08x)" : "%s", kind, mask);
    return text;
  }

  [[noreturn]] void fail_deadlock() {
    std::string text;
    for (int i = 0, end; i < count_; i = end) {
      const Thread& thread = *threads_[i];
      for (end = i + 1; end < count_; ++end)
        if (threads_[end]->waits != thread.waits || threads_[end]->returned != thread.returned) break;
      text += "\n  threads " + std::to_string(i) + "-" + std::to_string(end - 1);
      text +=
          thread.returned ? " have returned" : " wait in " + name_of(thread.waits->kind, thread.waits->mask);
    }
    fail("deadlock: nobody can go on%s", text.c_str());
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<Thread>> threads_;
  Fiber host_;
  Schedule schedule_;
  Places ready_, starved_;
  int count_ = 0, last_place_ = 0;
  Thread* current_ = nullptr;
  void (*body_)(void*) = nullptr;
  void* context_ = nullptr;
  Meeting of_block_, of_warps_[most_warps][warp_lanes];
  Clock block_start_, block_end_, fence_clock_;
};

}  // namespace simt
