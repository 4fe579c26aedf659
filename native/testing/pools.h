// Pools of all kinds. Part of test.cc.
#ifndef RNNJAX_TESTING_POOLS_H_
#define RNNJAX_TESTING_POOLS_H_

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "../problem.h"

namespace rnnjax {
namespace {

bool denormals_count() {
  volatile float tiny = 1e-40f;
  return tiny * 1.0f > 0;
}

// Some workers; it may claim to have more.
class Threads final : public Pool {
 public:
  explicit Threads(int workers, int claimed = 0) : claimed_(claimed ? claimed : workers) {
    for (int i = 0; i < workers; ++i) workers_.emplace_back([this] { work(); });
  }

  ~Threads() override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      closed_ = true;
    }
    changed_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  int threads() const override { return claimed_; }

  void schedule(void (*task)(void*), void* data) override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      tasks_.emplace_back(task, data);
    }
    ++scheduled_;
    changed_.notify_one();
  }

  int scheduled() const { return scheduled_; }
  bool clean() const { return clean_; }  // no task has changed how its thread computes

 private:
  void work() {
    while (true) {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return closed_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      const auto task = tasks_.front();
      tasks_.pop_front();
      lock.unlock();
      task.first(task.second);
      if (!denormals_count()) clean_ = false;
    }
  }

  const int claimed_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::pair<void (*)(void*), void*>> tasks_;
  bool closed_ = false;
  std::atomic<int> scheduled_{0};
  std::atomic<bool> clean_{true};
  std::vector<std::thread> workers_;
};

// Takes tasks, and runs them when it is told to.
class Later final : public Pool {
 public:
  int threads() const override { return 4; }
  void schedule(void (*task)(void*), void* data) override { tasks_.emplace_back(task, data); }

  void run() {
    for (const auto& task : tasks_) task.first(task.second);
    tasks_.clear();
  }

 private:
  std::vector<std::pair<void (*)(void*), void*>> tasks_;
};

// Runs a task before `schedule` returns, as XLA does where it has no pool; its count is then 0.
class AtOnce final : public Pool {
 public:
  explicit AtOnce(int threads) : threads_(threads) {}
  int threads() const override { return threads_; }
  void schedule(void (*task)(void*), void* data) override { task(data); }

 private:
  const int threads_;
};

}  // namespace
}  // namespace rnnjax

#endif  // RNNJAX_TESTING_POOLS_H_
