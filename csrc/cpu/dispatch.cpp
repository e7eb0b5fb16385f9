// Choice of the instruction set, once.
#include <stdlib.h>
#include <string.h>

#include <stdexcept>
#include <string>

#include "kernels.h"

namespace vae_fast {
namespace cpu {

extern const Kernels baseline_kernels;
#if defined(__x86_64__)
extern const Kernels avx2_kernels, avx512_kernels;
#endif

namespace {

struct Candidate {
  const Kernels* kernels;
  bool supported;
};

struct Choice {
  const Kernels* kernels;
  std::string error;
};

Choice choose() {
  const Candidate candidates[] = {
#if defined(__x86_64__)
      {&avx512_kernels, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")},
      {&avx2_kernels, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
#endif
      {&baseline_kernels, true},
  };
  const char* wanted = getenv("VAE_FAST_ISA");
  const bool automatic = !wanted || !*wanted;
  std::string known;
  for (const Candidate& candidate : candidates) {
    const bool named = automatic || !strcmp(wanted, candidate.kernels->isa);
    if (named && candidate.supported) return {candidate.kernels, ""};
    if (named && !automatic)
      return {nullptr, std::string("VAE_FAST_ISA=") + wanted + ": this processor lacks the instructions"};
    known = candidate.kernels->isa + (known.empty() ? "" : ", " + known);
  }
  return {nullptr, std::string("VAE_FAST_ISA=") + wanted + ": expected one of " + known};
}

const Choice& choice() {
  static const Choice chosen = choose();
  return chosen;
}

}  // namespace

const Kernels& kernels() {
  if (!choice().kernels) throw std::runtime_error(choice().error);
  return *choice().kernels;
}

const char* isa_error() { return choice().error.c_str(); }

}  // namespace cpu
}  // namespace vae_fast
