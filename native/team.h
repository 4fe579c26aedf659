// Threads that share work in phases, without ever waiting for one that may not be running.
//
// An item belongs to whoever claims it. The caller alone would finish everything; a task of the
// pool that starts late finds its phase and joins in, or finds nothing left. So a pool of one
// thread, or one whose threads are all busy, cannot lock up: what is waited for is always an
// item that a running thread has claimed.
#ifndef RNNJAX_TEAM_H_
#define RNNJAX_TEAM_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>

#include "problem.h"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace rnnjax {

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#endif
}

// Denormals count as zero while it lives: they are slow, and XLA does the same.
class FlushDenormals {
 public:
  FlushDenormals() : before_(control()) { set_control(before_ | kFlush); }
  ~FlushDenormals() { set_control(before_); }

 private:
#if defined(__x86_64__) || defined(__i386__)
  using Control = unsigned;
  static constexpr Control kFlush = 0x8040;
  static Control control() { return _mm_getcsr(); }
  static void set_control(Control value) { _mm_setcsr(value); }
#elif defined(__aarch64__)
  using Control = uint64_t;
  static constexpr Control kFlush = 1 << 24;
  static Control control() {
    Control value;
    asm volatile("mrs %0, fpcr" : "=r"(value));
    return value;
  }
  static void set_control(Control value) { asm volatile("msr fpcr, %0" : : "r"(value)); }
#else
  using Control = int;
  static constexpr Control kFlush = 0;
  static Control control() { return 0; }
  static void set_control(Control) {}
#endif
  const Control before_;
};

// The processor that runs this thread; -1 where the system does not say.
inline int processor() {
#if defined(__linux__)
  return sched_getcpu();
#else
  return -1;
#endif
}

// Moves this thread away from a processor, if it is there and may be elsewhere.
//
// A thread may be woken on the processor of the one that woke it. Until the system balances its
// load again, milliseconds later, both would take turns, and a call would be over by then.
inline void leave(int busy) {
#if defined(__linux__)
  cpu_set_t allowed;
  if (busy < 0 || busy != processor() || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  cpu_set_t others = allowed;
  CPU_CLR(busy, &others);
  if (CPU_COUNT(&others) == 0 || sched_setaffinity(0, sizeof others, &others) != 0) return;
  sched_setaffinity(0, sizeof allowed, &allowed);
#else
  (void)busy;
#endif
}

// What a team does; `thread` numbers whoever runs an item.
class Work {
 public:
  virtual ~Work() = default;
  virtual void run(int64_t phase, int64_t item, int thread) = 0;
};

class Team : public std::enable_shared_from_this<Team> {
 public:
  // Runs `items` items in each of `phases` phases, a phase after the other.
  static void run(Work& work, int64_t phases, int64_t items, int threads, Pool& pool) {
    if (phases == 0 || items == 0) return;
    if (threads > items) threads = static_cast<int>(items);
    if (threads <= 1) {
      const FlushDenormals flush;
      for (int64_t p = 0; p < phases; ++p) {
        for (int64_t i = 0; i < items; ++i) work.run(p, i, 0);
      }
      return;
    }
    auto team = std::make_shared<Team>(work, phases, items, threads);
    for (int i = 1; i < threads; ++i) {
      auto* held = new std::shared_ptr<Team>(team);
      pool.schedule(&Team::join, held);
    }
    team->take_part(0);
  }

  Team(Work& work, int64_t phases, int64_t items, int threads)
      : work_(work),
        phases_(phases),
        items_(items),
        threads_(threads),
        claimed_(new std::atomic<int32_t>[phases * threads]()),
        done_(new std::atomic<int64_t>[phases]()) {}

 private:
  static void join(void* data) {
    std::unique_ptr<std::shared_ptr<Team>> held(static_cast<std::shared_ptr<Team>*>(data));
    Team& team = **held;
    team.take_part(++team.joined_);
  }

  // Each thread has a range of items that is its own in every phase, so that their weights stay
  // in its cache; who is ready first helps the others.
  void take_part(int thread) {
    const FlushDenormals flush;
    for (int64_t phase = 0; phase < phases_; ++phase) {
      if (thread == 0) {
        caller_.store(processor(), std::memory_order_relaxed);
      } else {
        leave(caller_.load(std::memory_order_relaxed));
      }
      int64_t mine = 0;
      if (done_[phase].load(std::memory_order_acquire) < items_) {
        for (int i = 0; i < threads_; ++i) mine += drain(phase, (thread + i) % threads_, thread);
      }
      if (mine) done_[phase].fetch_add(mine, std::memory_order_acq_rel);
      // Who has been woken on this processor waits for it, and leaves it once it runs.
      if (joined_.load(std::memory_order_relaxed) + 1 < threads_) std::this_thread::yield();
      for (int spins = 0; done_[phase].load(std::memory_order_acquire) < items_; ++spins) {
        if (spins < 4096) {
          pause();
        } else {
          std::this_thread::yield();
        }
      }
    }
  }

  int64_t drain(int64_t phase, int owner, int thread) {
    const int64_t begin = items_ * owner / threads_, end = items_ * (owner + 1) / threads_;
    auto& next = claimed_[owner * phases_ + phase];
    int64_t count = 0;
    while (begin + next.load(std::memory_order_relaxed) < end) {
      const int64_t item = begin + next.fetch_add(1, std::memory_order_acq_rel);
      if (item >= end) break;
      work_.run(phase, item, thread);
      ++count;
    }
    return count;
  }

  Work& work_;  // alive while an item is unfinished; not touched without a claim
  const int64_t phases_, items_;
  const int threads_;
  const std::unique_ptr<std::atomic<int32_t>[]> claimed_;
  const std::unique_ptr<std::atomic<int64_t>[]> done_;
  std::atomic<int> caller_{-1};  // the processor of who has called
  std::atomic<int> joined_{0};
};

}  // namespace rnnjax

#endif  // RNNJAX_TEAM_H_
