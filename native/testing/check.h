// What failed, and random numbers. Only the main thread checks. Part of test.cc.
#ifndef RNNJAX_TESTING_CHECK_H_
#define RNNJAX_TESTING_CHECK_H_

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

#include "../kernels.h"

namespace rnnjax {
namespace {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

int failures = 0;

__attribute__((format(printf, 4, 5))) void fail(const char* file, int line, const char* condition,
                                                const char* format, ...) {
  if (++failures > 20) return;
  std::printf("FAILED %s:%d: %s: ", file, line, condition);
  va_list arguments;
  va_start(arguments, format);
  std::vprintf(format, arguments);
  va_end(arguments);
  std::printf("\n");
}

#define CHECK(condition, ...)                                            \
  do {                                                                   \
    if (!(condition)) fail(__FILE__, __LINE__, #condition, __VA_ARGS__); \
  } while (0)

bool only_best = false;

std::vector<const Kernels*> all_kernels() {
  if (only_best) return {find(nullptr)};
  std::vector<const Kernels*> all;
  for (const char* name : {"avx512", "avx2", "portable"}) {
    if (const Kernels* kernels = find(name)) all.push_back(kernels);
  }
  return all;
}

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  double uniform() { return static_cast<double>(engine_() >> 11) / 9007199254740992.0; }
  int64_t below(int64_t count) { return static_cast<int64_t>(engine_() % count); }
  bool chance(double p) { return uniform() < p; }

  Floats floats(int64_t count, double size = 1) {
    Floats out(count);
    for (float& x : out) x = static_cast<float>(size * (2 * uniform() - 1));
    return out;
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace
}  // namespace rnnjax

#endif  // RNNJAX_TESTING_CHECK_H_
