// The order in which simulated threads and blocks run. Correct kernels do not depend on it.
#pragma once

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include <string>

namespace simt {

constexpr int warp_lanes = 32;
constexpr int most_threads = 1024;
constexpr int most_warps = most_threads / warp_lanes;

// Who runs next, by the environment variable SIMT_SCHEDULE: forward (the default), reverse, random:SEED or
// starve:WARP.
struct Schedule {
  bool reverse = false;  // threads and blocks from the last to the first
  bool random = false;   // both shuffled
  uint64_t state = 0;    // of the random numbers
  int starved = -1;      // the warp that runs only when nobody else can

  // Whether the text was understood.
  bool parse(const std::string& text) {
    reverse = text == "reverse";
    if (reverse || text == "forward") return true;
    const size_t colon = text.find(':');
    const std::string kind = text.substr(0, colon);
    const std::string digits = colon == std::string::npos ? "" : text.substr(colon + 1);
    if (digits.empty() || digits.find_first_not_of("0123456789") != std::string::npos) return false;
    errno = 0;
    const uint64_t number = strtoull(digits.c_str(), nullptr, 10);
    if (errno) return false;
    random = kind == "random";
    state = number;
    if (kind == "starve" && number < most_warps) starved = static_cast<int>(number);
    return random || starved >= 0;
  }

  unsigned draw(unsigned below) {  // SplitMix64
    uint64_t x = state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return static_cast<unsigned>((x ^ (x >> 31)) % below);
  }
};

// A set of places in the order of threads.
class Places {
 public:
  void insert(int place) { words_[place / 64] |= bit(place); }
  void erase(int place) { words_[place / 64] &= ~bit(place); }

  // The first at or after `from`, or else the first of all; -1 if there is none.
  int next(int from) const {
    for (int i = from / 64; i < words; ++i) {
      const uint64_t word = i == from / 64 ? words_[i] & ~(bit(from) - 1) : words_[i];
      if (word) return 64 * i + __builtin_ctzll(word);
    }
    return from == 0 ? -1 : next(0);
  }

 private:
  static constexpr int words = most_threads / 64;
  static uint64_t bit(int place) { return uint64_t(1) << (place % 64); }
  uint64_t words_[words] = {};
};

}  // namespace simt
