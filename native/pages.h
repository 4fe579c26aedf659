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

// Asks for large pages for an array that will be written whole and fills one at least. Only a hint.
//
// Those at its ends are its neighbours' as well, mostly other arrays of the same call: without
// them a call of several arrays would touch most of its memory in small pages.
inline void use_large_pages(void* data, size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t kPage = 2 << 20;
  if (bytes < kPage) return;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(data) / kPage * kPage;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes + kPage - 1) / kPage * kPage;
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)data;
  (void)bytes;
#endif
}

}  // namespace rnnjax

#endif  // RNNJAX_PAGES_H_
