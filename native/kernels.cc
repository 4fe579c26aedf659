// The loops once for each instruction set, and the choice among them when the library is loaded.
// No flag of the compiler asks for any: the same file serves every processor of its kind.
#include "kernels.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <type_traits>
#include <vector>

#include "team.h"

namespace rnnjax {

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma,prefer-vector-width=512")
#endif
#define LANES 16
namespace avx512 {
#include "activations.h"
#include "product.h"
#include "pack.h"
#include "walk.h"
#include "forward.h"
#include "backward.h"
#include "jobs.h"
#include "outer.h"
#include "steps.h"
}  // namespace avx512
#undef LANES
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define LANES 8
namespace avx2 {
#include "activations.h"
#include "product.h"
#include "pack.h"
#include "walk.h"
#include "forward.h"
#include "backward.h"
#include "jobs.h"
#include "outer.h"
#include "steps.h"
}  // namespace avx2
#undef LANES
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif  // __x86_64__

// Whatever the compiler makes of vectors of four: SSE2, NEON, or plain code.
#define LANES 4
namespace portable {
#include "activations.h"
#include "product.h"
#include "pack.h"
#include "walk.h"
#include "forward.h"
#include "backward.h"
#include "jobs.h"
#include "outer.h"
#include "steps.h"
}  // namespace portable
#undef LANES

static const Kernels kPortable = {"portable", portable::forward, portable::backward, portable::gradients,
                                  portable::activations, portable::steps};

#if defined(__x86_64__)
static const Kernels kAvx2 = {"avx2", avx2::forward, avx2::backward, avx2::gradients,
                              avx2::activations, avx2::steps};
static const Kernels kAvx512 = {"avx512", avx512::forward, avx512::backward, avx512::gradients,
                                avx512::activations, avx512::steps};
#endif

static bool served(const Kernels& kernels) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (&kernels == &kAvx2) return avx2;
  if (&kernels == &kAvx512) {
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
  }
#endif
  return &kernels == &kPortable;
}

const Kernels* find(const char* name) {
#if defined(__x86_64__)
  static const Kernels* const kAll[] = {&kAvx512, &kAvx2, &kPortable};
#else
  static const Kernels* const kAll[] = {&kPortable};
#endif
  for (const Kernels* kernels : kAll) {
    const bool wanted = name == nullptr || *name == 0 || std::strcmp(name, kernels->name) == 0;
    if (wanted && served(*kernels)) return kernels;
  }
  return nullptr;
}

}  // namespace rnnjax
