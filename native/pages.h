// Fresh memory in large pages.
//
// XLA takes new memory for every call, and the system hands it out page by page, when it is first
// written: with pages of 4 KiB that took up to a fifth of a training step (benchmarks/NOTES.md).
#ifndef RNNJAX_PAGES_H_
#define RNNJAX_PAGES_H_

#include <cstddef>
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace rnnjax {

// Asks for large pages where an array, which will be written whole, fills some. Only a hint.
inline void use_large_pages(void* data, size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t kPage = 2 << 20;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + kPage - 1) / kPage * kPage;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes) / kPage * kPage;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)data;
  (void)bytes;
#endif
}

}  // namespace rnnjax

#endif  // RNNJAX_PAGES_H_
