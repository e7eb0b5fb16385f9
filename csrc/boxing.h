// Functions that take a list of arguments as a struct, registered under the flat list of a schema.
#pragma once

#include <torch/csrc/stable/library.h>

#include <tuple>
#include <type_traits>
#include <utility>

namespace vae_fast {

// The arguments of a call, taken one after the other.
class Stack {
 public:
  explicit Stack(StableIValue* next) : next_(next) {}

  template <class T>
  T take() {
    if constexpr (std::is_constructible_v<T, Stack&>)
      return T(*this);
    else
      return torch::stable::detail::to<T>(*next_++);
  }

 private:
  StableIValue* next_;
};

template <class Function>
struct Boxed;

template <class Result, class... Parameters>
struct Boxed<Result (*)(Parameters...)> {
  template <Result (*function)(Parameters...)>
  static void call(StableIValue* stack, uint64_t, uint64_t) {
    Stack arguments(stack);
    std::tuple<Parameters...> taken{arguments.take<Parameters>()...};  // braces: in this order
    if constexpr (std::is_void_v<Result>)
      std::apply(function, std::move(taken));
    else
      give(stack, std::apply(function, std::move(taken)));
  }

 private:
  template <class T>
  static void give(StableIValue* stack, T result) {
    *stack = torch::stable::detail::from(std::move(result));
  }
  template <class... T>
  static void give(StableIValue* stack, std::tuple<T...> results) {
    std::apply([&](T&... result) { (give(stack++, std::move(result)), ...); }, results);
  }
};

// As TORCH_BOX, of a function of which parameters may be structs made from a Stack.
#define VAE_FAST_BOX(function) &vae_fast::Boxed<decltype(&function)>::call<&function>

}  // namespace vae_fast
