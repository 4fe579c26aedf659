// Tests of the kernels, for every instruction set that this processor has: activations, and the
// loops and gradients of all cells against loops in double precision. Then of sharing work among
// threads.
//
// Compiled with -DRNNJAX_SMALL, so that small problems are shared in both ways, and run under
// sanitizers by tests/native/test_sanitizers.py.
#include <algorithm>
#include <atomic>
#include <cfloat>
#include <cmath>
#include <cstdio>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kernels.h"
#include "team.h"
#include "testing/cases.h"
#include "testing/check.h"
#include "testing/compare.h"
#include "testing/pools.h"
#include "testing/reference.h"
#include "testing/runs.h"
#include "testing/steps.h"
#include "workspace.h"

namespace rnnjax {
namespace {

// --- Activations.

constexpr float kInfinity = std::numeric_limits<float>::infinity();

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
  for (const float edge : {0.0f, 0.625f, 9.0f, 44.0f, 44.5f, 87.0f, 88.0f, 88.37626f, 89.0f, FLT_MIN,
                           FLT_MAX, 1e-40f}) {
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

void test_precision(const Kernels& kernels, const Floats& xs, const Doubles& sigmoids,
                    const Doubles& tanhs) {
  Floats s(xs.size(), kNaN), t(xs.size(), kNaN);
  kernels.activations(xs.size(), xs.data(), s.data(), t.data());
  double worst_s = 0, worst_t = 0;
  float at_s = 0, at_t = 0;
  for (size_t i = 0; i < xs.size(); ++i) {
    const double of_s = ulps(s[i], sigmoids[i]), of_t = ulps(t[i], tanhs[i]);
    if (of_s > worst_s) worst_s = of_s, at_s = xs[i];
    if (of_t > worst_t) worst_t = of_t, at_t = xs[i];
  }
  std::printf("%-8s  sigmoid %.3f ulp at %.9g, tanh %.3f ulp at %.9g\n", kernels.name, worst_s, at_s,
              worst_t, at_t);
  CHECK(worst_s <= 2.5, "%s: %f ulp at %.9g", kernels.name, worst_s, at_s);
  CHECK(worst_t <= 2.5, "%s: %f ulp at %.9g", kernels.name, worst_t, at_t);
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

// --- Cells.

void check_case(const Kernels& kernels, const Case& c, const Wanted& want, Pool& pool,
                const std::string& what) {
  const std::string where = std::string(kernels.name) + " " + what;
  check_forward(c, want.forward, run_forward(kernels, c, pool), where);
  check_backward(c, want.backward, run_backward(kernels, c, pool), where);
  check_gradients(c, want.gradients, run_gradients(kernels, c, pool), where);
  CHECK(denormals_count(), "%s", where.c_str());
}

// The way back of the reference is the derivative of its way forward. There are as many inputs as
// columns: so that each delta makes a difference.
void test_reference() {
  Random random(3);
  for (const int32_t cell : kCells) {
    Case c = small_case(cell, 6, 2, 3 * gates(cell), 3, random);
    const Wanted wanted = references(c);
    for (size_t i = 0; i < c.networks.size(); ++i) {
      Network& net = c.networks[i];
      const BackwardWant& want = wanted.backward[i];
      const GradientsWant& gradients = wanted.gradients[i];
      check_slopes(c, net, "inputs", &Network::inputs, input_slopes(c, net, want.deltas));
      check_slopes(c, net, "w_ih", &Network::w_ih, gradients.dw_ih);
      check_slopes(c, net, "w_hh", &Network::w_hh, gradients.dw_hh);
      check_slopes(c, net, "bias", &Network::bias, gradients.dbias);
      check_slopes(c, net, "candidate bias", &Network::candidate_bias, gradients.dcandidate_bias);
      check_slopes(c, net, "begin h", &Network::begin_h, want.dbegin_h);
      check_slopes(c, net, "begin c", &Network::begin_c, want.dbegin_c);
      check_slopes(c, net, "fresh h", &Network::fresh_h, want.dfresh_h);
      check_slopes(c, net, "fresh c", &Network::fresh_c, want.dfresh_c);
    }
  }
}

void test_names() {
  CHECK(find("portable") != nullptr, "it is everywhere");
  CHECK(find(nullptr) == all_kernels().front() && find("") == find(nullptr), "the best");
  CHECK(find("avx1024") == nullptr, "there is none");
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

// Weights that a single row reads where they stand, several panels at once: with 256 units also
// those of a product of one gate, which are not packed for two steps.
void test_single_row() {
  Random random(4);
  Threads one(1), two(2);
  for (const int32_t cell : kCells) {
    for (const int64_t hidden : {64, 128, 256}) {
      Case c;
      c.size = {hidden == 256 ? 2 : 5, 1, 7, hidden, cell};
      c.bias = true;
      c.mask = hidden == 64;
      for (int i = 0; i < 2; ++i) c.networks.push_back(draw_network(c, random));
      CHECK(!packs(c.size), "%s", c.text().c_str());
      const Wanted want = references(c);
      for (const Kernels* kernels : all_kernels()) {
        for (Threads* pool : {&one, &two}) check_case(*kernels, c, want, *pool, "single row");
      }
    }
  }
}

void test_no_steps() {
  Random random(2);
  Threads two(2);
  for (const int32_t cell : kCells) {
    Case c = small_case(cell, 0, 3, 7, 17, random);
    const Wanted want = references(c);
    for (const Kernels* kernels : all_kernels()) check_case(*kernels, c, want, two, "no steps");
  }
}

// --- Gradients.

// Below and above the terms that are summed at once, and none.
constexpr int64_t kPlaces[] = {0, 1, 7, 255, 256, 257, 700};

Case draw_gradients_case(int32_t cell, int64_t places, bool mask, Random& random) {
  Case c;
  const int64_t networks = 1 + random.below(3), inputs = kInputs[random.below(std::size(kInputs))];
  const int64_t hidden = kHidden[random.below(std::size(kHidden))];
  int64_t rows = 1 + random.below(places + 1);
  while (places % rows) --rows;
  c.size = {places / rows, rows, inputs, hidden, cell};
  if (random.chance(0.5)) std::swap(c.size.steps, c.size.rows);  // no rows, too
  c.mask = mask;
  c.bias = random.chance(0.8);
  for (int64_t i = 0; i < networks; ++i) {
    Network net = draw_network(c, random);
    if (random.chance(0.3)) net.bias.clear();
    if (random.chance(0.3)) net.candidate_bias.clear();
    draw_deltas(c, random, &net);
    c.networks.push_back(std::move(net));
  }
  return c;
}

std::vector<GradientsWant> gradients_references(const Case& c) {
  std::vector<GradientsWant> wants;
  for (const Network& net : c.networks) wants.push_back(reference_gradients(c, net));
  return wants;
}

void check_gradients_case(const Case& c, std::initializer_list<Pool*> pools) {
  const std::vector<GradientsWant> wants = gradients_references(c);
  for (const Kernels* kernels : all_kernels()) {
    for (Pool* pool : pools) {
      const std::string where = kernels->name + (" " + std::to_string(pool->threads())) + " threads";
      check_gradients(c, wants, run_gradients(*kernels, c, *pool), where);
    }
  }
}

void test_gradients() {
  Random random(6);
  Threads one(1), two(2), four(4);
  worst_error = 0;
  for (const int32_t cell : kCells) {
    for (const int64_t places : kPlaces) {
      for (const bool mask : {false, true, true}) {
        check_gradients_case(draw_gradients_case(cell, places, mask, random), {&one, &two, &four});
      }
    }
  }
  std::printf("largest error of the gradients: %.2g\n", worst_error);
  for (const Threads* pool : {&two, &four}) {
    CHECK(pool->scheduled() > 0, "no work was shared");
    CHECK(pool->clean(), "a task has left denormals switched off");
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
    cases.push_back(small_case(cell, 5, 26, 7, 17, random));
    cases.push_back(small_case(cell, 5, 3, 33, 70, random));
  }
  return cases;
}

Later& never() {
  static Later& pool = *new Later;  // so that what it holds is not reported as lost
  return pool;
}

void test_pools() {
  Random random(4);
  AtOnce at_once(4), none(0);
  Threads one(1), busy(1, 4);
  const std::pair<Pool*, const char*> pools[] = {{&never(), "never"},
                                                 {&at_once, "at once"},
                                                 {&none, "no thread"},
                                                 {&one, "one thread"},
                                                 {&busy, "one thread for four"}};
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
    std::vector<std::vector<GradientsRun>> gradients(cases.size());
    std::vector<std::thread> callers;
    for (size_t i = 0; i < cases.size(); ++i) {
      callers.emplace_back([&, i] {
        for (int repeat = 0; repeat < 3; ++repeat) {
          forwards[i] = run_forward(*kernels, cases[i], pool);
          backwards[i] = run_backward(*kernels, cases[i], pool);
          gradients[i] = run_gradients(*kernels, cases[i], pool);
        }
      });
    }
    for (std::thread& caller : callers) caller.join();
    for (size_t i = 0; i < cases.size(); ++i) {
      const std::string where = std::string(kernels->name) + " concurrent";
      check_forward(cases[i], wants[i].forward, forwards[i], where);
      check_backward(cases[i], wants[i].backward, backwards[i], where);
      check_gradients(cases[i], wants[i].gradients, gradients[i], where);
    }
  }
}

// --- Memory to work in.

void test_workspaces() {
  const float* first;
  {
    const Workspace workspace(1000);
    first = workspace.numbers();
    const Workspace other(1000);
    CHECK(other.numbers() != first, "two calls at once have memory of their own");
  }
  {
    const Workspace smaller(900);
    const Workspace much_smaller(10);
    CHECK(smaller.numbers() != much_smaller.numbers(), "nor do they share it of other sizes");
    const Workspace again(1000);
    CHECK(smaller.numbers() == first || again.numbers() == first, "memory serves the next call");
  }
  constexpr size_t kLarge = Workspace::kKept / 4 * 3, kNumbers = kLarge / sizeof(float);
  { const Workspace one(kNumbers), two(kNumbers); }
  CHECK(Workspace::kept() >= kLarge && Workspace::kept() <= Workspace::kKept, "not all is kept");
  { const Workspace too_large(2 * Workspace::kKept / sizeof(float)); }
  CHECK(Workspace::kept() <= Workspace::kKept, "nor what is larger than that");

  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int id = 0; id < 8; ++id) {
    threads.emplace_back([id, &wrong] {
      for (int i = 0; i < 200; ++i) {
        const size_t size = 100 * (1 + (id + i) % 7);
        const Workspace workspace(size);
        std::fill_n(workspace.numbers(), size, static_cast<float>(id));
        std::this_thread::yield();
        for (size_t j = 0; j < size; ++j) wrong += workspace.numbers()[j] != static_cast<float>(id);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0, "calls in several threads have memory of their own");
}

}  // namespace
}  // namespace rnnjax

// With the word `best`, of all instruction sets the best alone: how threads share work is the same.
int main(int count, char** words) {
  rnnjax::only_best = count > 1 && std::string(words[1]) == "best";
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // also what was said before a crash arrives
  rnnjax::test_names();
  rnnjax::test_activations();
  rnnjax::test_reference();
  rnnjax::test_cells();
  rnnjax::test_single_row();
  rnnjax::test_no_steps();
  rnnjax::test_gradients();
  rnnjax::test_step_cells();
  rnnjax::test_step_networks();
  rnnjax::test_pools();
  rnnjax::test_concurrent_calls();
  rnnjax::test_workspaces();
  std::printf("%d failures\n", rnnjax::failures);
  return rnnjax::failures != 0;
}
