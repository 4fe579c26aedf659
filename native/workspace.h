// Memory to work in, which the library keeps from call to call.
//
// What XLA allocates beyond 32 MiB comes anew from the system in every call, and clearing it took
// up to half of a call (benchmarks/NOTES.md).
#ifndef RNNJAX_WORKSPACE_H_
#define RNNJAX_WORKSPACE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "pages.h"

namespace rnnjax {

// Some numbers, in no state, for the time that this object lives. Those of a call that is over serve
// the next one; what all of them take beyond `kKept` bytes is given back.
class Workspace {
 public:
  static constexpr size_t kKept = 64 << 20;

  // Throws std::bad_alloc.
  explicit Workspace(size_t numbers) : block_(store().take(numbers * sizeof(float))) {}
  ~Workspace() { store().give(std::move(block_)); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  float* numbers() const { return static_cast<float*>(block_.memory.get()); }
  static size_t kept() { return store().kept(); }  // bytes

 private:
  static constexpr std::align_val_t kAligned{64}, kAlignedLarge{2 << 20};

  struct Free {
    bool large;
    void operator()(void* memory) const { ::operator delete(memory, large ? kAlignedLarge : kAligned); }
  };
  struct Block {
    std::unique_ptr<void, Free> memory;
    size_t bytes = 0;
  };

  class Store {
   public:
    // The smallest block that is large enough, and not so large that another call may want it more.
    Block take(size_t bytes) {
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        size_t best = blocks_.size();
        for (size_t i = 0; i < blocks_.size(); ++i) {
          const size_t has = blocks_[i].bytes;
          if (has < bytes || has / 4 > bytes) continue;
          if (best == blocks_.size() || has < blocks_[best].bytes) best = i;
        }
        if (best < blocks_.size()) {
          Block found = std::move(blocks_[best]);
          blocks_.erase(blocks_.begin() + best);
          kept_ -= found.bytes;
          return found;
        }
      }
      const bool large = bytes >= static_cast<size_t>(kAlignedLarge);
      void* memory = ::operator new(bytes, large ? kAlignedLarge : kAligned);
      use_large_pages(memory, bytes);
      return {{memory, {large}}, bytes};
    }

    // The oldest ones go first.
    void give(Block block) {
      std::vector<Block> gone;
      const std::lock_guard<std::mutex> lock(mutex_);
      kept_ += block.bytes;
      blocks_.push_back(std::move(block));
      while (kept_ > kKept) {
        kept_ -= blocks_.front().bytes;
        gone.push_back(std::move(blocks_.front()));
        blocks_.erase(blocks_.begin());
      }
    }

    size_t kept() {
      const std::lock_guard<std::mutex> lock(mutex_);
      return kept_;
    }

   private:
    std::mutex mutex_;
    std::vector<Block> blocks_;
    size_t kept_ = 0;
  };

  // Never destroyed: threads may still run when the process ends.
  static Store& store() {
    static Store& store = *new Store;
    return store;
  }

  Block block_;
};

}  // namespace rnnjax

#endif  // RNNJAX_WORKSPACE_H_
