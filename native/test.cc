// Tests of the kernels, for every instruction set that this processor has: activations, and the
// loops of all cells against loops in double precision. Then of sharing work among threads.
//
// Compiled with -DRNNJAX_SMALL, so that small problems are shared in both ways, and run under
// sanitizers by tests/native/test_sanitizers.py.
#include <algorithm>
#include <atomic>
#include <cfloat>
#include <cmath>
#include <condition_variable>
#include <cstdarg>
#include <cstdio>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kernels.h"
#include "team.h"

namespace rnnjax {
namespace {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

// --- What failed. Only the main thread checks.

int failures = 0;

__attribute__((format(printf, 3, 4))) void fail(int line, const char* condition, const char* format, ...) {
  if (++failures > 20) return;
  std::printf("FAILED test.cc:%d: %s: ", line, condition);
  va_list arguments;
  va_start(arguments, format);
  std::vprintf(format, arguments);
  va_end(arguments);
  std::printf("\n");
}

#define CHECK(condition, ...)                               \
  do {                                                      \
    if (!(condition)) fail(__LINE__, #condition, __VA_ARGS__); \
  } while (0)

std::vector<const Kernels*> all_kernels() {
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

// --- Activations.

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// Of an odd length, so that the last vector is not full.
Floats activation_inputs() {
  Floats xs;
  const auto both = [&xs](double x) {
    xs.push_back(static_cast<float>(x));
    xs.push_back(static_cast<float>(-x));
  };
  const int count = 1000000;
  const double low = std::log(1e-30), high = std::log(100.0);
  for (int i = 0; i < count; ++i) both(std::exp(low + (high - low) * i / (count - 1)));
  for (int i = 0; i < count / 5; ++i) both(100.0 * i / (count / 5));
  for (const float edge : {0.0f, 0.625f, 9.0f, 44.0f, 44.5f, 87.0f, 88.0f, 88.37626f, 89.0f, FLT_MIN, FLT_MAX, 1e-40f}) {
    both(edge);
    both(std::nextafter(edge, kInfinity));
    both(std::nextafter(edge, -1.0f));
  }
  xs.push_back(0.5f);
  return xs;
}

// The distance in units of the last place of a float; what is next to nothing may be nothing.
double ulps(float got, double want) {
  if (std::fabs(want) < 1e-37 && std::fabs(got) < 1e-37) return 0;
  int exponent;
  std::frexp(want, &exponent);
  const double ulp = std::ldexp(1.0, std::max(exponent, -125) - 24);
  const double distance = std::fabs(got - want) / ulp;
  return std::isnan(distance) ? HUGE_VAL : distance;
}

void test_precision(const Kernels& kernels, const Floats& xs, const Doubles& sigmoids, const Doubles& tanhs) {
  Floats s(xs.size(), kNaN), t(xs.size(), kNaN);
  kernels.activations(xs.size(), xs.data(), s.data(), t.data());
  double worst_s = 0, worst_t = 0;
  float at_s = 0, at_t = 0;
  for (size_t i = 0; i < xs.size(); ++i) {
    const double of_s = ulps(s[i], sigmoids[i]), of_t = ulps(t[i], tanhs[i]);
    if (of_s > worst_s) worst_s = of_s, at_s = xs[i];
    if (of_t > worst_t) worst_t = of_t, at_t = xs[i];
  }
  std::printf("%-8s  sigmoid %.3f ulp at %.9g, tanh %.3f ulp at %.9g\n", kernels.name, worst_s, at_s, worst_t, at_t);
  CHECK(worst_s <= 2, "%s: %f ulp at %.9g", kernels.name, worst_s, at_s);
  CHECK(worst_t <= 2, "%s: %f ulp at %.9g", kernels.name, worst_t, at_t);
}

void test_saturation(const Kernels& kernels) {
  const Floats xs = {1e30f, kInfinity, -1e30f, -kInfinity, kNaN, -kNaN, 0.0f, -0.0f};
  Floats s(xs.size()), t(xs.size());
  kernels.activations(xs.size(), xs.data(), s.data(), t.data());
  for (const int i : {0, 1}) CHECK(s[i] == 1 && t[i] == 1, "%s: %g %g", kernels.name, s[i], t[i]);
  for (const int i : {2, 3}) {
    CHECK(s[i] >= 0 && s[i] < 1e-37 && t[i] == -1, "%s: %g %g", kernels.name, s[i], t[i]);
  }
  for (const int i : {4, 5}) {
    CHECK(std::isnan(s[i]) && std::isnan(t[i]), "%s: %g %g", kernels.name, s[i], t[i]);
  }
  for (const int i : {6, 7}) CHECK(s[i] == 0.5f && t[i] == 0, "%s: %g %g", kernels.name, s[i], t[i]);
}

void test_activations() {
  const Floats xs = activation_inputs();
  Doubles sigmoids, tanhs;
  for (const double x : xs) {
    sigmoids.push_back(sigmoid(x));
    tanhs.push_back(std::tanh(x));
  }
  for (const Kernels* kernels : all_kernels()) {
    test_precision(*kernels, xs, sigmoids, tanhs);
    test_saturation(*kernels);
  }
}

// --- Pools.

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

// Runs a task before `schedule` returns, as XLA does where it has no pool.
class AtOnce final : public Pool {
 public:
  int threads() const override { return 4; }
  void schedule(void (*task)(void*), void* data) override { task(data); }
};

// --- Problems.

struct ForwardWant {
  Doubles outputs, final_h, final_c, columns, extra, start_h, start_c;
};

struct BackwardWant {
  Doubles deltas, extra_deltas, dbegin_h, dbegin_c, dfresh_h, dfresh_c;
};

struct Network {
  Floats w;  // (hidden, gates * hidden); a row is a unit that is read
  Floats projected, bias, candidate_bias, begin_h, begin_c, fresh_h, fresh_c;
  Floats doutputs, dfinal_h, dfinal_c;
  std::unique_ptr<bool[]> mask, restarts;
  Floats columns, extra, start_h, start_c;  // what the way back reads: the kept, rounded

  bool valid(int64_t place) const { return !mask || mask[place]; }
  bool restart(int64_t place) const { return restarts && restarts[place]; }
};

struct Case {
  Size size;
  bool keep = true, in_place = true, mask = false, restarts = false, bias = false;
  std::vector<Network> networks;

  int64_t width() const { return gates(size.cell) * size.hidden; }
  std::string text() const {
    const auto said = [](bool flag, const char* word) { return std::string(flag ? word : ""); };
    return "cell " + std::to_string(size.cell) + " T " + std::to_string(size.steps) + " B " +
           std::to_string(size.rows) + " H " + std::to_string(size.hidden) + " networks " +
           std::to_string(networks.size()) + said(size.reverse, " reverse") + said(mask, " mask") +
           said(restarts, " restarts") + said(bias, " bias") + said(keep, " keep") + said(in_place, " in place");
  }
};

// Every row holes of its own, or a prefix, or nothing at all.
std::unique_ptr<bool[]> draw_mask(const Size& size, Random& random) {
  std::unique_ptr<bool[]> mask(new bool[size.steps * size.rows]);
  const bool holes = random.chance(0.5);
  for (int64_t row = 0; row < size.rows; ++row) {
    const int64_t length = random.chance(0.15) ? 0 : random.below(size.steps + 1);
    const double density = random.chance(0.15) ? 0 : 0.6;
    for (int64_t t = 0; t < size.steps; ++t) {
      mask[t * size.rows + row] = holes ? random.chance(density) : t < length;
    }
  }
  return mask;
}

// What stands at steps that do not count must not matter.
void spoil(const Network& net, int64_t width, Floats* values) {
  for (size_t i = 0; i < values->size(); ++i) {
    if (!net.valid(i / width)) (*values)[i] = kNaN;
  }
}

Network draw_network(const Case& c, Random& random) {
  const Size& size = c.size;
  const int64_t h = size.hidden, width = c.width(), rows = size.rows * h, places = size.steps * size.rows;
  Network net;
  net.w = random.floats(h * width, 1.5 / std::sqrt(h));
  net.projected = random.floats(places * width, 1.5);
  net.doutputs = random.floats(places * h);
  net.begin_h = random.floats(rows);
  net.dfinal_h = random.floats(rows);
  if (has_c(size.cell)) {
    net.begin_c = random.floats(rows);
    net.dfinal_c = random.floats(rows);
  }
  if (c.bias) {
    net.bias = random.floats(width);
    if (size.cell == kGRUAfter) net.candidate_bias = random.floats(h);
  }
  if (c.mask) {
    net.mask = draw_mask(size, random);
    spoil(net, width, &net.projected);
    spoil(net, h, &net.doutputs);
  }
  if (c.restarts) {
    net.restarts.reset(new bool[places]);
    for (int64_t i = 0; i < places; ++i) net.restarts[i] = random.chance(0.25);
    net.fresh_h = random.floats(rows);
    if (has_c(size.cell)) net.fresh_c = random.floats(rows);
  }
  return net;
}

// --- The reference, forwards.

double at(const Floats& array, int64_t place) { return array.empty() ? 0 : array[place]; }

// out[k] += sum of a[u] * w[u][k], for k from `begin` to `end`.
void add_product(const double* a, const Network& net, int64_t hidden, int64_t width, int64_t begin, int64_t end, double* out) {
  for (int64_t u = 0; u < hidden; ++u) {
    for (int64_t k = begin; k < end; ++k) out[k] += a[u] * net.w[u * width + k];
  }
}

// out[u] += sum of d[k] * w[u][begin + k].
void add_transposed(const double* d, const Network& net, int64_t hidden, int64_t width, int64_t begin, int64_t end, double* out) {
  for (int64_t u = 0; u < hidden; ++u) {
    for (int64_t k = begin; k < end; ++k) out[u] += d[k - begin] * net.w[u * width + k];
  }
}

// A row's state; `columns` and `extra` are what its last step has kept.
struct Row {
  Doubles h, c, columns, extra;
};

void lstm_step(const Doubles& s, int64_t hidden, Row* row) {
  for (int64_t u = 0; u < hidden; ++u) {
    const double i = sigmoid(s[u]), f = sigmoid(s[hidden + u]), g = std::tanh(s[2 * hidden + u]), o = sigmoid(s[3 * hidden + u]);
    row->c[u] = f * row->c[u] + i * g;
    row->h[u] = o * std::tanh(row->c[u]);
    for (int gate = 0; gate < 4; ++gate) {
      row->columns[gate * hidden + u] = (const double[]){i, f, g, o}[gate];
    }
  }
}

// `s` without the candidate's product.
void gru_step(const Size& size, const Network& net, const Doubles& s, Row* row) {
  const int64_t h = size.hidden;
  Doubles passed = row->h, product(3 * h);
  for (int64_t u = 0; u < 2 * h; ++u) row->columns[u] = sigmoid(s[u]);
  if (size.cell == kGRUBefore) {
    for (int64_t u = 0; u < h; ++u) passed[u] *= row->columns[u];
  }
  add_product(passed.data(), net, h, 3 * h, 2 * h, 3 * h, product.data());
  for (int64_t u = 0; u < h; ++u) {
    double p = product[2 * h + u];
    row->extra[u] = passed[u];
    if (size.cell == kGRUAfter) {
      row->extra[u] = p + at(net.candidate_bias, u);
      p = row->columns[u] * row->extra[u];
    }
    const double z = row->columns[h + u], n = std::tanh(s[2 * h + u] + p);
    row->columns[2 * h + u] = n;
    row->h[u] = (1 - z) * n + z * row->h[u];
  }
}

void step(const Case& c, const Network& net, const float* projected, Row* row) {
  const int64_t h = c.size.hidden, width = c.width();
  Doubles s(width);
  for (int64_t k = 0; k < width; ++k) s[k] = projected[k] + at(net.bias, k);
  add_product(row->h.data(), net, h, width, 0, has_extra(c.size.cell) ? 2 * h : width, s.data());
  if (c.size.cell == kLSTM) return lstm_step(s, h, row);
  if (has_extra(c.size.cell)) return gru_step(c.size, net, s, row);
  for (int64_t u = 0; u < h; ++u) {
    row->columns[u] = s[u];
    row->h[u] = c.size.cell == kTanh ? std::tanh(s[u]) : std::max(s[u], 0.0);
  }
}

Doubles some(const Floats& array, int64_t place, int64_t count) {
  if (array.empty()) return Doubles(count);
  return Doubles(array.begin() + place * count, array.begin() + (place + 1) * count);
}

void put(const Doubles& values, int64_t place, Doubles* array) {
  std::copy(values.begin(), values.end(), array->begin() + place * values.size());
}

ForwardWant reference_forward(const Case& c, const Network& net) {
  const Size& size = c.size;
  const int64_t h = size.hidden, width = c.width(), count = size.rows * h, all = size.steps * count;
  ForwardWant want{Doubles(all), Doubles(count), Doubles(count), Doubles(gates(size.cell) * all), Doubles(all), Doubles(all), Doubles(all)};
  for (int64_t b = 0; b < size.rows; ++b) {
    Row row{some(net.begin_h, b, h), some(net.begin_c, b, h), Doubles(width), Doubles(h)};
    for (int64_t visit = 0; visit < size.steps; ++visit) {
      const int64_t place = size.step(visit) * size.rows + b;
      if (!net.valid(place)) continue;
      if (net.restart(place)) {
        row.h = some(net.fresh_h, b, h);
        row.c = some(net.fresh_c, b, h);
      }
      put(row.h, place, &want.start_h);
      put(row.c, place, &want.start_c);
      step(c, net, net.projected.data() + place * width, &row);
      put(row.h, place, &want.outputs);
      put(row.columns, place, &want.columns);
      put(row.extra, place, &want.extra);
    }
    put(row.h, b, &want.final_h);
    put(row.c, b, &want.final_c);
  }
  return want;
}

void keep_rounded(const Case& c, const ForwardWant& want, Network* net) {
  net->columns = Floats(want.columns.begin(), want.columns.end());
  net->start_h = Floats(want.start_h.begin(), want.start_h.end());
  if (has_c(c.size.cell)) net->start_c = Floats(want.start_c.begin(), want.start_c.end());
  if (has_extra(c.size.cell)) net->extra = Floats(want.extra.begin(), want.extra.end());
}

// --- The reference, backwards.

// A row's cotangents; `deltas` and `extra` are those of its last step.
struct Cotangents {
  Doubles h, c, deltas, extra;
};

void lstm_back(const Network& net, int64_t hidden, int64_t place, Cotangents* d) {
  const Doubles kept = some(net.columns, place, 4 * hidden), old = some(net.start_c, place, hidden);
  for (int64_t u = 0; u < hidden; ++u) {
    const double i = kept[u], f = kept[hidden + u], g = kept[2 * hidden + u], o = kept[3 * hidden + u];
    const double tanh_c = std::tanh(f * old[u] + i * g);
    const double dc = d->c[u] + d->h[u] * o * (1 - tanh_c * tanh_c);
    d->deltas[u] = dc * g * i * (1 - i);
    d->deltas[hidden + u] = dc * old[u] * f * (1 - f);
    d->deltas[2 * hidden + u] = dc * i * (1 - g * g);
    d->deltas[3 * hidden + u] = d->h[u] * tanh_c * o * (1 - o);
    d->c[u] = dc * f;
    d->h[u] = 0;
  }
  add_transposed(d->deltas.data(), net, hidden, 4 * hidden, 0, 4 * hidden, d->h.data());
}

void gru_back(const Size& size, const Network& net, int64_t place, Cotangents* d) {
  const int64_t h = size.hidden;
  const Doubles kept = some(net.columns, place, 3 * h), old = some(net.start_h, place, h), product = some(net.extra, place, h);
  for (int64_t u = 0; u < h; ++u) {
    const double r = kept[u], z = kept[h + u], n = kept[2 * h + u], dn = d->h[u] * (1 - z) * (1 - n * n);
    d->deltas[u] = dn * product[u] * r * (1 - r);
    d->deltas[h + u] = d->h[u] * (old[u] - n) * z * (1 - z);
    d->deltas[2 * h + u] = dn;
    d->extra[u] = size.cell == kGRUAfter ? dn * r : dn;
    d->h[u] *= z;
  }
  Doubles passed(h);
  add_transposed(d->extra.data(), net, h, 3 * h, 2 * h, 3 * h, passed.data());
  for (int64_t u = 0; u < h; ++u) {
    if (size.cell == kGRUBefore) {
      const double r = kept[u];
      d->deltas[u] = passed[u] * old[u] * r * (1 - r);
      passed[u] *= r;
    }
    d->h[u] += passed[u];
  }
  add_transposed(d->deltas.data(), net, h, 3 * h, 0, 2 * h, d->h.data());
}

void step_back(const Case& c, const Network& net, int64_t place, Cotangents* d) {
  const int64_t h = c.size.hidden;
  if (c.size.cell == kLSTM) return lstm_back(net, h, place, d);
  if (has_extra(c.size.cell)) return gru_back(c.size, net, place, d);
  for (int64_t u = 0; u < h; ++u) {
    const double s = net.columns[place * h + u], y = std::tanh(s);
    d->deltas[u] = c.size.cell == kTanh ? d->h[u] * (1 - y * y) : s > 0 ? d->h[u] : 0;
    d->h[u] = 0;
  }
  add_transposed(d->deltas.data(), net, h, h, 0, h, d->h.data());
}

void move_to(Doubles* from, int64_t place, Doubles* sums) {
  for (size_t u = 0; u < from->size(); ++u) {
    (*sums)[place * from->size() + u] += (*from)[u];
    (*from)[u] = 0;
  }
}

BackwardWant reference_backward(const Case& c, const Network& net) {
  const Size& size = c.size;
  const int64_t h = size.hidden, count = size.rows * h, all = size.steps * count;
  BackwardWant want{Doubles(gates(size.cell) * all), Doubles(all), Doubles(count), Doubles(count), Doubles(count), Doubles(count)};
  for (int64_t b = 0; b < size.rows; ++b) {
    Cotangents d{some(net.dfinal_h, b, h), some(net.dfinal_c, b, h), Doubles(c.width()), Doubles(h)};
    for (int64_t visit = size.steps - 1; visit >= 0; --visit) {
      const int64_t place = size.step(visit) * size.rows + b;
      if (!net.valid(place)) continue;
      for (int64_t u = 0; u < h; ++u) d.h[u] += net.doutputs[place * h + u];
      step_back(c, net, place, &d);
      put(d.deltas, place, &want.deltas);
      put(d.extra, place, &want.extra_deltas);
      if (net.restart(place)) {
        move_to(&d.h, b, &want.dfresh_h);
        move_to(&d.c, b, &want.dfresh_c);
      }
    }
    put(d.h, b, &want.dbegin_h);
    put(d.c, b, &want.dbegin_c);
  }
  return want;
}

// The sum whose derivatives the way back gives.
double loss(const Case& c, const Network& net) {
  const ForwardWant want = reference_forward(c, net);
  double sum = 0;
  for (size_t i = 0; i < want.outputs.size(); ++i) {
    if (net.valid(i / c.size.hidden)) sum += want.outputs[i] * net.doutputs[i];
  }
  for (size_t i = 0; i < want.final_h.size(); ++i) {
    sum += want.final_h[i] * net.dfinal_h[i] + want.final_c[i] * at(net.dfinal_c, i);
  }
  return sum;
}

void check_slopes(const Case& c, Network& net, const char* what, Floats Network::*input, const Doubles& want) {
  Floats& values = net.*input;
  for (size_t i = 0; i < values.size(); ++i) {
    const float before = values[i], around = 1.0f / 1024;
    values[i] = before + around;
    const float above = values[i];
    const double high = loss(c, net);
    values[i] = before - around;
    const double low = loss(c, net), slope = (high - low) / (static_cast<double>(above) - values[i]);
    values[i] = before;
    if (std::isnan(before)) continue;
    CHECK(std::fabs(slope - want[i]) < 1e-5, "%s: %s[%zu]: %g, wanted %g", c.text().c_str(), what, i, want[i], slope);
  }
}

Doubles sums(const Doubles& values, size_t width) {
  Doubles out(width);
  for (size_t i = 0; i < values.size(); ++i) out[i % width] += values[i];
  return out;
}

// --- Packed weights.

// [panel][k][gate][unit in group], of the first gates.
Floats pack_gates(const Floats& w, int64_t hidden, int64_t width, int count) {
  const int64_t panels = (hidden + 15) / 16;
  Floats out(panels * hidden * count * 16);
  for (int64_t k = 0; k < hidden; ++k) {
    for (int64_t gate = 0; gate < count; ++gate) {
      for (int64_t u = 0; u < hidden; ++u) {
        out[((u / 16 * hidden + k) * count + gate) * 16 + u % 16] = w[k * width + gate * hidden + u];
      }
    }
  }
  return out;
}

// [panel][k][column], of a matrix that is asked for its elements (k, column).
Floats pack_columns(int64_t depth, int64_t hidden, const std::function<float(int64_t, int64_t)>& w) {
  const int64_t panels = (hidden + 63) / 64;
  Floats out(panels * depth * 64);
  for (int64_t k = 0; k < depth; ++k) {
    for (int64_t u = 0; u < hidden; ++u) out[(u / 64 * depth + k) * 64 + u % 64] = w(k, u);
  }
  return out;
}

struct Packed {
  Floats weights, more;
};

Packed pack_forward(const Case& c, const Network& net) {
  const int64_t h = c.size.hidden, width = c.width();
  switch (c.size.cell) {
    case kLSTM: return {pack_gates(net.w, h, width, 4), {}};
    case kGRUAfter: return {pack_gates(net.w, h, width, 3), {}};
    case kGRUBefore:
      return {pack_gates(net.w, h, width, 2),
              pack_columns(h, h, [&](int64_t k, int64_t u) { return net.w[k * width + 2 * h + u]; })};
    default: return {pack_columns(h, h, [&](int64_t k, int64_t u) { return net.w[k * width + u]; }), {}};
  }
}

Packed pack_backward(const Case& c, const Network& net) {
  const int64_t h = c.size.hidden, width = c.width();
  const bool before = c.size.cell == kGRUBefore;
  Packed packed;
  packed.weights = pack_columns(before ? 2 * h : width, h, [&](int64_t k, int64_t u) { return net.w[u * width + k]; });
  if (before) {
    packed.more = pack_columns(h, h, [&](int64_t k, int64_t u) { return net.w[u * width + 2 * h + k]; });
  }
  return packed;
}

// --- Runs of the kernels. What they must write is NaN before.

const float* given(const Floats& array) { return array.empty() ? nullptr : array.data(); }
float* given(Floats& array) { return array.empty() ? nullptr : array.data(); }
Floats blank(bool present, size_t count) { return Floats(present ? count : 0, kNaN); }

struct ForwardRun {
  Packed packed;
  Floats outputs, final_h, final_c, columns, extra, start_h, start_c;
};

struct BackwardRun {
  Packed packed;
  Floats deltas, extra_deltas, dbegin_h, dbegin_c, dfresh_h, dfresh_c;
};

ForwardRun forward_buffers(const Case& c, const Network& net) {
  const size_t count = c.size.rows * c.size.hidden, all = c.size.steps * count;
  const bool has_c = rnnjax::has_c(c.size.cell);
  ForwardRun run;
  run.packed = pack_forward(c, net);
  run.outputs = blank(true, all);
  run.final_h = blank(true, count);
  run.final_c = blank(has_c, count);
  run.columns = c.keep && c.in_place ? net.projected : blank(c.keep, all * gates(c.size.cell));
  run.extra = blank(c.keep && has_extra(c.size.cell), all);
  run.start_h = blank(c.keep, all);
  run.start_c = blank(c.keep && has_c, all);
  return run;
}

Forward forward_arrays(const Case& c, const Network& net, ForwardRun& run) {
  Forward arrays;
  arrays.projected = given(c.keep && c.in_place ? run.columns : net.projected);
  arrays.weights = given(run.packed.weights);
  arrays.more_weights = given(run.packed.more);
  arrays.bias = given(net.bias);
  arrays.candidate_bias = given(net.candidate_bias);
  arrays.begin = {given(net.begin_h), given(net.begin_c)};
  arrays.fresh = {given(net.fresh_h), given(net.fresh_c)};
  arrays.mask = net.mask.get();
  arrays.restarts = net.restarts.get();
  arrays.outputs = given(run.outputs);
  arrays.final = {given(run.final_h), given(run.final_c)};
  arrays.columns = given(run.columns);
  arrays.extra = given(run.extra);
  arrays.starts = {given(run.start_h), given(run.start_c)};
  return arrays;
}

std::vector<ForwardRun> run_forward(const Kernels& kernels, const Case& c, Pool& pool) {
  std::vector<ForwardRun> runs;
  for (const Network& net : c.networks) runs.push_back(forward_buffers(c, net));
  std::vector<Forward> arrays;
  for (size_t i = 0; i < runs.size(); ++i) arrays.push_back(forward_arrays(c, c.networks[i], runs[i]));
  kernels.forward(c.size, arrays, pool);
  return runs;
}

BackwardRun backward_buffers(const Case& c, const Network& net) {
  const size_t count = c.size.rows * c.size.hidden, all = c.size.steps * count;
  const bool has_c = rnnjax::has_c(c.size.cell), after = c.size.cell == kGRUAfter;
  BackwardRun run;
  run.packed = pack_backward(c, net);
  run.deltas = c.in_place ? net.columns : blank(true, all * gates(c.size.cell));
  run.extra_deltas = c.in_place && after ? net.extra : blank(after, all);
  run.dbegin_h = blank(true, count);
  run.dbegin_c = blank(has_c, count);
  run.dfresh_h = blank(c.restarts, count);
  run.dfresh_c = blank(c.restarts && has_c, count);
  return run;
}

Backward backward_arrays(const Case& c, const Network& net, BackwardRun& run) {
  Backward arrays;
  arrays.columns = given(c.in_place ? run.deltas : net.columns);
  arrays.extra = given(c.in_place && c.size.cell == kGRUAfter ? run.extra_deltas : net.extra);
  arrays.starts = {given(net.start_h), given(net.start_c)};
  arrays.weights = given(run.packed.weights);
  arrays.more_weights = given(run.packed.more);
  arrays.doutputs = given(net.doutputs);
  arrays.dfinal = {given(net.dfinal_h), given(net.dfinal_c)};
  arrays.mask = net.mask.get();
  arrays.restarts = net.restarts.get();
  arrays.deltas = given(run.deltas);
  arrays.extra_deltas = given(run.extra_deltas);
  arrays.dbegin = {given(run.dbegin_h), given(run.dbegin_c)};
  arrays.dfresh = {given(run.dfresh_h), given(run.dfresh_c)};
  return arrays;
}

std::vector<BackwardRun> run_backward(const Kernels& kernels, const Case& c, Pool& pool) {
  std::vector<BackwardRun> runs;
  for (const Network& net : c.networks) runs.push_back(backward_buffers(c, net));
  std::vector<Backward> arrays;
  for (size_t i = 0; i < runs.size(); ++i) arrays.push_back(backward_arrays(c, c.networks[i], runs[i]));
  kernels.backward(c.size, arrays, pool);
  return runs;
}

// --- Comparison.

double worst_error = 0;

void check_same(const std::string& label, const char* what, const Floats& got, const Doubles& want) {
  if (got.empty()) return;  // absent
  CHECK(got.size() == want.size(), "%s: %s", label.c_str(), what);
  size_t worst = 0;
  double most = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = std::fabs(got[i] - want[i]) / (1 + std::fabs(want[i]));
    if (error <= most) continue;  // NaN goes on
    most = std::isnan(error) ? HUGE_VAL : error;
    worst = i;
  }
  worst_error = std::max(worst_error, most);
  CHECK(most < 1e-5, "%s: %s[%zu] is %.9g, wanted %.9g", label.c_str(), what, worst, got[worst], want[worst]);
}

void check_zeros(const std::string& label, const char* what, const Network& net, const Floats& got, int64_t width) {
  for (size_t i = 0; i < got.size(); ++i) {
    if (net.valid(i / width)) continue;
    CHECK(got[i] == 0, "%s: %s[%zu] is %g where nothing counts", label.c_str(), what, i, got[i]);
    if (got[i] != 0) return;
  }
}

void check_forward(const Case& c, const std::vector<ForwardWant>& wants, const std::vector<ForwardRun>& runs, const std::string& where) {
  const int64_t h = c.size.hidden;
  for (size_t i = 0; i < runs.size(); ++i) {
    const ForwardRun& run = runs[i];
    const ForwardWant& want = wants[i];
    const Network& net = c.networks[i];
    const std::string label = where + " " + c.text() + " forward of " + std::to_string(i);
    check_same(label, "outputs", run.outputs, want.outputs);
    check_same(label, "final h", run.final_h, want.final_h);
    check_same(label, "final c", run.final_c, want.final_c);
    check_same(label, "columns", run.columns, want.columns);
    check_same(label, "extra", run.extra, want.extra);
    check_same(label, "start h", run.start_h, want.start_h);
    check_same(label, "start c", run.start_c, want.start_c);
    check_zeros(label, "outputs", net, run.outputs, h);
    check_zeros(label, "columns", net, run.columns, c.width());
    check_zeros(label, "extra", net, run.extra, h);
    check_zeros(label, "start h", net, run.start_h, h);
    check_zeros(label, "start c", net, run.start_c, h);
  }
}

void check_backward(const Case& c, const std::vector<BackwardWant>& wants, const std::vector<BackwardRun>& runs, const std::string& where) {
  for (size_t i = 0; i < runs.size(); ++i) {
    const BackwardRun& run = runs[i];
    const BackwardWant& want = wants[i];
    const std::string label = where + " " + c.text() + " backward of " + std::to_string(i);
    check_same(label, "deltas", run.deltas, want.deltas);
    check_same(label, "extra deltas", run.extra_deltas, want.extra_deltas);
    check_same(label, "dbegin h", run.dbegin_h, want.dbegin_h);
    check_same(label, "dbegin c", run.dbegin_c, want.dbegin_c);
    check_same(label, "dfresh h", run.dfresh_h, want.dfresh_h);
    check_same(label, "dfresh c", run.dfresh_c, want.dfresh_c);
    check_zeros(label, "deltas", c.networks[i], run.deltas, c.width());
    check_zeros(label, "extra deltas", c.networks[i], run.extra_deltas, c.size.hidden);
  }
}

struct Wanted {
  std::vector<ForwardWant> forward;
  std::vector<BackwardWant> backward;
};

Wanted references(Case& c) {
  Wanted want;
  for (Network& net : c.networks) {
    want.forward.push_back(reference_forward(c, net));
    keep_rounded(c, want.forward.back(), &net);
    want.backward.push_back(reference_backward(c, net));
  }
  return want;
}

void check_case(const Kernels& kernels, const Case& c, const Wanted& want, Pool& pool, const std::string& what) {
  const std::string where = std::string(kernels.name) + " " + what;
  check_forward(c, want.forward, run_forward(kernels, c, pool), where);
  check_backward(c, want.backward, run_backward(kernels, c, pool), where);
  CHECK(denormals_count(), "%s", where.c_str());
}

// --- Cells.

constexpr int32_t kCells[] = {kLSTM, kGRUAfter, kGRUBefore, kTanh, kReLU};
constexpr int64_t kHidden[] = {1, 2, 15, 16, 17, 31, 63, 64, 65, 100, 130};

// As many steps as drawn if they are not too much work.
Case draw_case(int32_t cell, int64_t hidden, Random& random) {
  Case c;
  const int64_t networks = 1 + random.below(3);
  int64_t steps = 1 + random.below(12), rows = 1 + random.below(13);
  if (random.chance(0.15)) rows = hidden <= 17 ? 100 : 40;
  const int64_t work = networks * rows * hidden * hidden * gates(cell);
  while (steps > 2 && steps * work > 1000000) --steps;
  c.size = {steps, rows, hidden, cell, random.chance(0.5)};
  c.keep = random.chance(0.7);
  c.in_place = random.chance(0.5);
  c.mask = random.chance(0.6);
  c.restarts = random.chance(0.5);
  c.bias = random.chance(0.6);
  for (int64_t i = 0; i < networks; ++i) c.networks.push_back(draw_network(c, random));
  return c;
}

Case small_case(int32_t cell, int64_t steps, int64_t rows, int64_t hidden, Random& random) {
  Case c;
  c.size = {steps, rows, hidden, cell, true};
  c.mask = c.restarts = c.bias = true;
  for (int i = 0; i < 2; ++i) c.networks.push_back(draw_network(c, random));
  return c;
}

// The way back of the reference is the derivative of its way forward.
void test_reference() {
  Random random(3);
  for (const int32_t cell : kCells) {
    Case c = small_case(cell, 6, 2, 3, random);
    const Wanted wanted = references(c);
    for (size_t i = 0; i < c.networks.size(); ++i) {
      Network& net = c.networks[i];
      const BackwardWant& want = wanted.backward[i];
      check_slopes(c, net, "projected", &Network::projected, want.deltas);
      check_slopes(c, net, "candidate bias", &Network::candidate_bias, sums(want.extra_deltas, c.size.hidden));
      check_slopes(c, net, "begin h", &Network::begin_h, want.dbegin_h);
      check_slopes(c, net, "begin c", &Network::begin_c, want.dbegin_c);
      check_slopes(c, net, "fresh h", &Network::fresh_h, want.dfresh_h);
      check_slopes(c, net, "fresh c", &Network::fresh_c, want.dfresh_c);
    }
  }
}

void test_cells() {
  Random random(1);
  Threads one(1), two(2), four(4);
  for (const int32_t cell : kCells) {
    for (const int64_t hidden : kHidden) {
      for (int repeat = 0; repeat < 3; ++repeat) {
        Case c = draw_case(cell, hidden, random);
        const Wanted want = references(c);
        for (const Kernels* kernels : all_kernels()) {
          for (Threads* pool : {&one, &two, &four}) {
            check_case(*kernels, c, want, *pool, std::to_string(pool->threads()) + " threads");
          }
        }
      }
    }
  }
  std::printf("largest error of the loops: %.2g\n", worst_error);
  for (const Threads* pool : {&two, &four}) {
    CHECK(pool->scheduled() > 0, "no work was shared");
    CHECK(pool->clean(), "a task has left denormals switched off");
  }
}

void test_no_steps() {
  Random random(2);
  Threads two(2);
  for (const int32_t cell : kCells) {
    Case c = small_case(cell, 0, 3, 17, random);
    const Wanted want = references(c);
    for (const Kernels* kernels : all_kernels()) check_case(*kernels, c, want, two, "no steps");
  }
}

// --- Sharing.

// Each item reads all of the phase before, without any lock.
class Chain final : public Work {
 public:
  Chain(int64_t phases, int64_t items) : items_(items), values_((phases + 1) * items, 1) {}

  void run(int64_t phase, int64_t item, int thread) override {
    int64_t sum = 0;
    for (int64_t i = 0; i < items_; ++i) sum += values_[phase * items_ + i];
    values_[(phase + 1) * items_ + item] += sum % 1000;
    if (thread < 0 || thread >= 4) wrong_thread_ = true;
  }

  bool wrong_thread() const { return wrong_thread_; }
  const std::vector<int64_t>& values() const { return values_; }

 private:
  const int64_t items_;
  std::vector<int64_t> values_;
  std::atomic<bool> wrong_thread_{false};
};

void check_chain(Pool& pool, const char* what) {
  const int64_t phases = 60;
  for (const int64_t items : {1, 3, 4, 17}) {
    Chain wanted(phases, items);
    for (int64_t p = 0; p < phases; ++p) {
      for (int64_t i = 0; i < items; ++i) wanted.run(p, i, 0);
    }
    const auto work = std::make_unique<Chain>(phases, items);
    Team::run(*work, phases, items, 4, pool);
    CHECK(work->values() == wanted.values(), "%s: %d items", what, static_cast<int>(items));
    CHECK(!work->wrong_thread(), "%s: %d items", what, static_cast<int>(items));
  }
}

// Sizes whose rows are shared, and sizes whose panels are.
std::vector<Case> shared_cases(Random& random) {
  std::vector<Case> cases;
  for (const int32_t cell : kCells) {
    cases.push_back(small_case(cell, 5, 26, 17, random));
    cases.push_back(small_case(cell, 5, 3, 70, random));
  }
  return cases;
}

Later& never() {
  static Later pool;  // so that what it holds is not reported as lost
  return pool;
}

void test_pools() {
  Random random(4);
  AtOnce at_once;
  Threads one(1), busy(1, 4);
  const std::pair<Pool*, const char*> pools[] = {
      {&never(), "never"}, {&at_once, "at once"}, {&one, "one thread"}, {&busy, "one thread for four"}};
  for (const auto& [pool, what] : pools) check_chain(*pool, what);
  Later later;
  check_chain(later, "later");
  later.run();
  for (Case& c : shared_cases(random)) {
    const Wanted want = references(c);
    for (const Kernels* kernels : all_kernels()) {
      for (const auto& [pool, what] : pools) check_case(*kernels, c, want, *pool, what);
      check_case(*kernels, c, want, later, "later");
      later.run();  // all that the call had is gone
    }
  }
}

void test_concurrent_calls() {
  Random random(5);
  std::vector<Case> cases = shared_cases(random);
  cases.resize(8);
  std::vector<Wanted> wants;
  for (Case& c : cases) wants.push_back(references(c));
  for (const Kernels* kernels : all_kernels()) {
    Threads pool(2);
    std::vector<std::vector<ForwardRun>> forwards(cases.size());
    std::vector<std::vector<BackwardRun>> backwards(cases.size());
    std::vector<std::thread> callers;
    for (size_t i = 0; i < cases.size(); ++i) {
      callers.emplace_back([&, i] {
        for (int repeat = 0; repeat < 3; ++repeat) {
          forwards[i] = run_forward(*kernels, cases[i], pool);
          backwards[i] = run_backward(*kernels, cases[i], pool);
        }
      });
    }
    for (std::thread& caller : callers) caller.join();
    for (size_t i = 0; i < cases.size(); ++i) {
      const std::string where = std::string(kernels->name) + " concurrent";
      check_forward(cases[i], wants[i].forward, forwards[i], where);
      check_backward(cases[i], wants[i].backward, backwards[i], where);
    }
  }
}

}  // namespace
}  // namespace rnnjax

int main() {
  rnnjax::test_activations();
  rnnjax::test_reference();
  rnnjax::test_cells();
  rnnjax::test_no_steps();
  rnnjax::test_pools();
  rnnjax::test_concurrent_calls();
  std::printf(rnnjax::failures ? "%d failures\n" : "all passed\n", rnnjax::failures);
  return rnnjax::failures != 0;
}
