// Drawn problems. Part of test.cc.
#ifndef RNNJAX_TESTING_CASES_H_
#define RNNJAX_TESTING_CASES_H_

#include <cmath>
#include <iterator>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "check.h"

namespace rnnjax {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

using Origins = std::vector<int32_t>;

struct ForwardWant {
  Doubles outputs, final_h, final_c, columns, extra, start_h, start_c;
  Origins origins;
};

struct BackwardWant {
  Doubles deltas, extra_deltas, dbegin_h, dbegin_c, dfresh_h, dfresh_c;
};

struct GradientsWant {
  Doubles dw_ih, dw_hh, dbias, dcandidate_bias;
};

struct Network {
  bool reverse;
  int64_t spare;  // numbers of scratch beyond the least
  Floats inputs, w_ih, w_hh, bias, candidate_bias, begin_h, begin_c, fresh_h, fresh_c;
  Floats doutputs, dfinal_h, dfinal_c;
  std::unique_ptr<bool[]> mask, restarts;
  // What the way back reads: the kept, rounded. The kernels find `start_h` by its origins.
  Floats columns, extra, outputs, start_h, start_c;
  Origins origins;
  Floats deltas, candidate;  // what gradients read, with start_h: the candidate's operand or deltas

  // What rows began with, and were restarted with.
  Floats first() const {
    Floats all = begin_h;
    all.insert(all.end(), fresh_h.begin(), fresh_h.end());
    return all;
  }
  bool valid(int64_t place) const { return !mask || mask[place]; }
  bool restart(int64_t place) const { return restarts && restarts[place]; }
  // The step that is visited as the v-th, when outputs are computed.
  int64_t step(const Size& size, int64_t visit) const { return reverse ? size.steps - 1 - visit : visit; }
};

struct Case {
  Size size;
  bool keep = true, in_place = true, mask = false, restarts = false, bias = false;
  std::vector<Network> networks;

  int64_t width() const { return gates(size.cell) * size.hidden; }
  std::string text() const {
    const auto said = [](bool flag, const char* word) { return std::string(flag ? word : ""); };
    std::string each;
    for (const Network& net : networks) each += (net.reverse ? " <" : " >") + std::to_string(net.spare);
    return "cell " + std::to_string(size.cell) + " T " + std::to_string(size.steps) + " B " +
           std::to_string(size.rows) + " D " + std::to_string(size.inputs) + " H " +
           std::to_string(size.hidden) + " networks" + each + said(mask, " mask") +
           said(restarts, " restarts") + said(bias, " bias") + said(keep, " keep") +
           said(in_place, " in place");
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

// So that one step is projected at once, or some, or all.
int64_t draw_spare(const Size& size, Random& random) {
  const int64_t steps = random.chance(0.3) ? 0 : random.below(size.steps + 2);
  const int64_t odd = random.chance(0.5) ? 0 : 1 + 2 * random.below(20);
  return steps * projected_numbers(size) + odd;
}

Network draw_network(const Case& c, Random& random) {
  const Size& size = c.size;
  const int64_t h = size.hidden, width = c.width(), rows = size.rows * h, places = size.steps * size.rows;
  Network net;
  net.reverse = random.chance(0.5);
  net.spare = draw_spare(size, random);
  net.inputs = random.floats(places * size.inputs, 1.5);
  net.w_ih = random.floats(size.inputs * width, 1.5 / std::sqrt(size.inputs + 1));
  net.w_hh = random.floats(h * width, 1.5 / std::sqrt(h));
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
    spoil(net, size.inputs, &net.inputs);
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

constexpr int32_t kCells[] = {kLSTM, kGRUAfter, kGRUBefore, kTanh, kReLU};
constexpr int64_t kHidden[] = {1, 2, 15, 16, 17, 31, 63, 64, 65, 100, 130};
constexpr int64_t kInputs[] = {0, 1, 2, 3, 7, 16, 33};

// As many steps as drawn if they are not too much work.
Case draw_case(int32_t cell, int64_t hidden, Random& random) {
  Case c;
  const int64_t networks = 1 + random.below(3), inputs = kInputs[random.below(std::size(kInputs))];
  int64_t steps = 1 + random.below(12), rows = 1 + random.below(13);
  if (random.chance(0.15)) rows = hidden <= 17 ? 100 : 40;
  const int64_t work = networks * rows * (inputs + hidden) * hidden * gates(cell);
  while (steps > 2 && steps * work > 1000000) --steps;
  c.size = {steps, rows, inputs, hidden, cell};
  c.keep = random.chance(0.7);
  c.in_place = random.chance(0.5);
  c.mask = random.chance(0.6);
  c.restarts = random.chance(0.5);
  c.bias = random.chance(0.6);
  for (int64_t i = 0; i < networks; ++i) c.networks.push_back(draw_network(c, random));
  return c;
}

Case small_case(int32_t cell, int64_t steps, int64_t rows, int64_t inputs, int64_t hidden, Random& random) {
  Case c;
  c.size = {steps, rows, inputs, hidden, cell};
  c.mask = c.restarts = c.bias = true;
  for (int i = 0; i < 2; ++i) c.networks.push_back(draw_network(c, random));
  return c;
}

// Instead of what the loops would have made: gradients alone are cheap, and so may be of many steps.
void draw_deltas(const Case& c, Random& random, Network* net) {
  const int64_t h = c.size.hidden, places = c.size.steps * c.size.rows;
  net->outputs = random.floats(places * h);
  const Floats first = net->first();
  const int64_t kinds = net->fresh_h.empty() ? 1 : 2;
  for (int64_t place = 0; place < places; ++place) {
    const int64_t origin = random.below(c.size.steps + kinds) - kinds, row = place % c.size.rows;
    const Floats& from = origin < 0 ? first : net->outputs;
    const int64_t start = ((origin < 0 ? -1 - origin : origin) * c.size.rows + row) * h;
    net->origins.push_back(static_cast<int32_t>(origin));
    net->start_h.insert(net->start_h.end(), from.begin() + start, from.begin() + start + h);
  }
  net->deltas = random.floats(places * c.width(), 0.3);
  if (has_extra(c.size.cell)) net->candidate = random.floats(places * h, 0.3);
  spoil(*net, c.width(), &net->deltas);
  spoil(*net, h, &net->candidate);
}

}  // namespace
}  // namespace rnnjax

#endif  // RNNJAX_TESTING_CASES_H_
