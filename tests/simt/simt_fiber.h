// Fibers: a stack of its own for every simulated thread, and what the sanitizers must be told when one
// takes over from another. AddressSanitizer needs the bounds of the new stack. ThreadSanitizer takes each
// fiber for a thread and sees an order between two of them only where `release` and `acquire` say so, never
// because one happened to run before the other: this makes it a race checker for CUDA threads.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#ifndef __x86_64__
#include <ucontext.h>
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

namespace simt {

// While one lives, ThreadSanitizer does not look: the simulator's own data is shared by all fibers.
#ifdef __SANITIZE_THREAD__
struct Unwatched {
  Unwatched() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~Unwatched() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
};
// Stands, by its address, for what some fibers have done: start_clock makes it the caller's past, release
// adds that of another one, and acquire puts the caller after all of it.
using Clock = uint64_t;
inline void start_clock(Clock& clock) { __atomic_store_n(&clock, 0, __ATOMIC_RELEASE); }
inline void release(Clock& clock) { __tsan_release(&clock); }
inline void acquire(Clock& clock) { __tsan_acquire(&clock); }
#else
struct Unwatched {
  Unwatched() {}  // not trivial, so that an unused one gives no warning
};
struct Clock {};
inline void start_clock(Clock&) {}
inline void release(Clock&) {}
inline void acquire(Clock&) {}
#endif

// swapcontext makes a system call each time, and AddressSanitizer's version of it forgets the red zones of
// the stack that it enters; so it is only for machines without a hand-written one.
#ifdef __x86_64__
// A stack pointer, below which lie the registers that a function has to preserve.
struct Context {
  void* top;
};

__attribute__((naked, noinline, no_sanitize("thread"))) inline void swap_contexts(Context*, Context*) {
  asm("push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
      "mov %rsp, (%rdi)\n"
      "mov (%rsi), %rsp\n"
      "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n"
      "ret");
}

inline void make_context(Context& context, char* stack, size_t size, void (*entry)()) {
  // Above six registers the address of entry to return to, then a return address for entry itself: null,
  // where stack traces end.
  void** top = reinterpret_cast<void**>(stack + size) - 8;
  top[6] = reinterpret_cast<void*>(entry);
  context.top = top;
}
#else
using Context = ucontext_t;

inline void swap_contexts(Context* from, Context* to) { swapcontext(from, to); }

inline void make_context(Context& context, char* stack, size_t size, void (*entry)()) {
  getcontext(&context);
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = size;
  makecontext(&context, entry, 0);
}
#endif

class Fiber {
 public:
  // The fiber that is running already: whoever calls.
  void adopt() {
#ifdef __SANITIZE_THREAD__
    tsan_ = __tsan_get_current_fiber();
#endif
  }

  // A new one, which runs `entry` when it is first switched to. Its entry must call `arrive` first and
  // never return. Fibers and their stacks are kept as long as the process lives.
  bool create(const char* name, void (*entry)()) {
    constexpr size_t guard = 1 << 16;  // a stack that overflows ends in a fault, not in its neighbour
    void* memory = mmap(nullptr, guard + stack_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, guard, PROT_NONE) != 0) return false;
    char* stack = static_cast<char*>(memory) + guard;
    make_context(context_, stack, stack_bytes, entry);
    bottom_ = stack;
    size_ = stack_bytes;
#ifdef __SANITIZE_THREAD__
    tsan_ = __tsan_create_fiber(0);
    __tsan_set_fiber_name(tsan_, name);
#else
    (void)name;
#endif
    return true;
  }

  // Returns when somebody switches back.
  void switch_to(Fiber& next) {
    left() = this;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&fake_stack_, next.bottom_, next.size_);
#endif
#ifdef __SANITIZE_THREAD__
    __tsan_switch_to_fiber(next.tsan_, __tsan_switch_to_fiber_no_sync);
#endif
    swap_contexts(&context_, &next.context_);
    arrive();
  }

  // The same as if this fiber, which does not run now, called acquire.
  void acquire_later(Clock& clock) {
#ifdef __SANITIZE_THREAD__
    void* const caller = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(tsan_, __tsan_switch_to_fiber_no_sync);
    acquire(clock);
    __tsan_switch_to_fiber(caller, __tsan_switch_to_fiber_no_sync);
#else
    (void)clock;
#endif
  }

  // AddressSanitizer knows the bounds of the stack that was left: for an adopted one, nobody else does.
  void arrive() {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake_stack_, &left()->bottom_, &left()->size_);
#endif
  }

 private:
  static constexpr size_t stack_bytes = 1 << 18;

  static Fiber*& left() {
    static Fiber* fiber = nullptr;
    return fiber;
  }

  Context context_{};
  const void* bottom_ = nullptr;
  size_t size_ = 0;
  void* fake_stack_ = nullptr;
  void* tsan_ = nullptr;
};

}  // namespace simt
