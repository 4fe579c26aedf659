// Steps of networks whose weights are packed once, against the reference. Part of test.cc.
#ifndef RNNJAX_TESTING_STEPS_H_
#define RNNJAX_TESTING_STEPS_H_

#include <cmath>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "compare.h"

namespace rnnjax {
namespace {

// A matrix with columns of several gates, as it is stored; `values` become those that are meant.
struct StoredMatrix {
  std::vector<uint16_t> halves;
  std::vector<int8_t> bytes;
  Floats scales;
};

StoredMatrix round_weights(int64_t columns, int32_t stored, Floats* values, bool by_rows = false) {
  StoredMatrix out;
  const auto place = [&](size_t i) { return by_rows ? i / columns : i % columns; };
  if (stored == kInt8) out.scales.resize(by_rows ? values->size() / columns : columns, 1e-9f);
  for (size_t i = 0; stored == kInt8 && i < values->size(); ++i) {
    float& scale = out.scales[place(i)];
    scale = std::max(scale, std::fabs((*values)[i]) / 127);
  }
  for (size_t i = 0; i < values->size(); ++i) {
    float& value = (*values)[i];
    if (stored == kBFloat16) {
      uint32_t bits;
      std::memcpy(&bits, &value, sizeof bits);
      out.halves.push_back(bits >> 16);
      bits &= 0xffff0000u;
      std::memcpy(&value, &bits, sizeof bits);
    } else if (stored == kInt8) {
      out.bytes.push_back(static_cast<int8_t>(std::lround(value / out.scales[place(i)])));
      value = out.bytes.back() * out.scales[place(i)];
    }
  }
  return out;
}

// Columns `first` to `first + gates * hidden` as a step reads them.
template <class T>
std::vector<T> packed_columns(const std::vector<T>& values, int64_t columns, int64_t first, int64_t gates,
                              int64_t hidden) {
  const int64_t together = gates == 1 ? 64 : 16, rows = columns ? values.size() / columns : 0;
  std::vector<T> out;
  for (int64_t unit = 0; unit < hidden; unit += together) {
    for (int64_t k = 0; k < rows; ++k) {
      for (int64_t g = 0; g < gates; ++g) {
        for (int64_t u = unit; u < unit + together; ++u) {
          out.push_back(u < hidden ? values[k * columns + first + g * hidden + u] : T());
        }
      }
    }
  }
  return out;
}

// Layers, and what they point to.
class StepNetwork {
 public:
  void add_cell(int32_t cell, int64_t inputs, int64_t hidden, int32_t stored, Network* net) {
    const int64_t columns = gates(cell) * hidden, first = cell == kGRUBefore ? 2 : gates(cell);
    StepLayer layer = {};
    layer.kind = cell, layer.inputs = inputs, layer.outputs = hidden;
    Floats* const matrices[] = {&net->w_ih, &net->w_hh};
    for (int m = 0; m < 2; ++m) {
      const StoredMatrix kept = round_weights(columns, stored, matrices[m]);
      const int64_t rows = m ? hidden : inputs;
      layer.weights[m] = pack(*matrices[m], kept, rows, columns, 0, first, hidden, stored);
      if (cell == kGRUBefore) {
        layer.weights[2 + m] = pack(*matrices[m], kept, rows, columns, 2 * hidden, 1, hidden, stored);
      }
    }
    const Floats none(columns), &bias = net->bias.empty() ? none : net->bias;
    layer.bias = keep(packed_columns(bias, columns, 0, first, hidden));
    if (cell == kGRUBefore) layer.candidate_bias = keep(packed_columns(bias, columns, 2 * hidden, 1, hidden));
    if (cell == kGRUAfter) {
      Floats candidate = net->candidate_bias;
      candidate.resize(padded(hidden, 16));
      layer.candidate_bias = keep(candidate);
    }
    layers.push_back(layer);
  }

  void add_dense(int64_t inputs, int64_t outputs, int32_t stored, int32_t activation, Floats* w, const Floats& bias) {
    const StoredMatrix kept = round_weights(outputs, stored, w);
    StepLayer layer = {};
    layer.kind = kDenseLayer, layer.activation = activation, layer.inputs = inputs, layer.outputs = outputs;
    layer.weights[0] = pack(*w, kept, inputs, outputs, 0, 1, outputs, stored);
    layer.bias = keep(packed_columns(bias, outputs, 0, 1, outputs));
    layers.push_back(layer);
  }

  void add_embedding(int64_t tokens, int64_t outputs, int32_t stored, Floats* w) {
    const StoredMatrix kept = round_weights(outputs, stored, w, true);
    StepLayer layer = {};
    layer.kind = kEmbeddingLayer, layer.inputs = tokens, layer.outputs = outputs;
    layer.weights[0] = {keep_values(*w, kept, stored), stored == kInt8 ? keep(kept.scales) : nullptr, tokens, stored};
    layers.push_back(layer);
  }

  void add_activation(int64_t width, int32_t activation) {
    StepLayer layer = {};
    layer.kind = kActivationLayer, layer.activation = activation, layer.inputs = layer.outputs = width;
    layers.push_back(layer);
  }

  // Outputs, and behind them the leaves of the new carry.
  Floats run(const Kernels& kernels, int64_t steps, int64_t rows, const void* x, const std::vector<Floats>& begin) {
    std::vector<const float*> leaves;
    int64_t carried = 0;
    for (const Floats& leaf : begin) leaves.push_back(leaf.data()), carried += leaf.size();
    StepCall call = {layers.data(), static_cast<int64_t>(layers.size()), steps, rows, x, nullptr, nullptr, nullptr, nullptr};
    Floats scratch(step_scratch(call), kNaN), out(steps * rows * layers.back().outputs, kNaN), end(carried, kNaN);
    call.y = out.data(), call.scratch = scratch.data(), call.begin = leaves.data(), call.end = end.data();
    kernels.steps(call);
    out.insert(out.end(), end.begin(), end.end());
    return out;
  }

  std::vector<StepLayer> layers;

 private:
  StepWeights pack(const Floats& values, const StoredMatrix& kept, int64_t rows, int64_t columns, int64_t first,
                   int64_t gates, int64_t hidden, int32_t stored) {
    const StoredMatrix packed = {packed_columns(kept.halves, columns, first, gates, hidden),
                                 packed_columns(kept.bytes, columns, first, gates, hidden),
                                 packed_columns(kept.scales, columns, first, gates, hidden)};
    const Floats floats = packed_columns(values, columns, first, gates, hidden);
    return {keep_values(floats, packed, stored), stored == kInt8 ? keep(packed.scales) : nullptr, rows, stored};
  }

  const void* keep_values(const Floats& floats, const StoredMatrix& kept, int32_t stored) {
    if (stored == kFloat32) return keep(floats);
    kept_.push_back(std::make_unique<StoredMatrix>(kept));
    return stored == kInt8 ? static_cast<const void*>(kept_.back()->bytes.data()) : kept_.back()->halves.data();
  }

  const float* keep(const Floats& values) {
    floats_.push_back(values);
    return floats_.back().data();
  }

  std::deque<Floats> floats_;
  std::vector<std::unique_ptr<StoredMatrix>> kept_;
};

void append(const Doubles& values, Doubles* out) { out->insert(out->end(), values.begin(), values.end()); }

std::vector<Floats> carry_of(const Network& net) {
  if (net.begin_c.empty()) return {net.begin_h};
  return {net.begin_h, net.begin_c};
}

constexpr int32_t kStoredAs[] = {kFloat32, kBFloat16, kInt8};

// Up to more steps than are taken together.
void test_step_cells() {
  Random random(7);
  for (const int32_t cell : kCells) {
    for (const int64_t hidden : kHidden) {
      for (const int32_t stored : kStoredAs) {
        Case c;
        const int64_t rows = 1 + random.below(6), steps = hidden < 20 ? 1 + random.below(40) : 1 + random.below(3);
        c.size = {steps, rows, kInputs[random.below(std::size(kInputs))], hidden, cell};
        c.bias = random.chance(0.7);
        Network net = draw_network(c, random);
        net.reverse = false;
        StepNetwork network;
        network.add_cell(cell, c.size.inputs, hidden, stored, &net);
        const ForwardWant forward = reference_forward(c, net);
        Doubles want = forward.outputs;
        append(forward.final_h, &want);
        if (has_c(cell)) append(forward.final_c, &want);
        for (const Kernels* kernels : all_kernels()) {
          const Floats got = network.run(*kernels, steps, rows, net.inputs.data(), carry_of(net));
          check_same(kernels->name + (" steps, stored as " + std::to_string(stored) + " ") + c.text(), "all", got, want);
        }
      }
    }
  }
}

double of_activation(int32_t activation, double x) {
  switch (activation) {
    case kTanhOf: return std::tanh(x);
    case kReLUOf: return std::max(x, 0.0);
    case kSigmoidOf: return sigmoid(x);
    case kSiLUOf: return x * sigmoid(x);
    default: return x;
  }
}

// An embedding, an activation, a cell, another one and a dense layer, of which each is computed by
// the reference from what the one below should have made.
void test_step_networks() {
  Random random(8);
  constexpr int64_t kTokens = 9, kWidth = 19, kFirst = 33, kSecond = 20, kLast = 70;
  for (const int32_t stored : kStoredAs) {
    for (const int32_t activation : {kIdentityOf, kTanhOf, kReLUOf, kSigmoidOf, kSiLUOf}) {
      const int64_t steps = 18, rows = 3, places = steps * rows;
      StepNetwork network;
      std::vector<int64_t> tokens(places);
      for (int64_t& token : tokens) token = random.below(kTokens);
      Floats table = random.floats(kTokens * kWidth);
      network.add_embedding(kTokens, kWidth, stored, &table);
      network.add_activation(kWidth, activation);
      Floats below(places * kWidth);
      for (int64_t i = 0; i < places * kWidth; ++i) {
        below[i] = of_activation(activation, table[tokens[i / kWidth] * kWidth + i % kWidth]);
      }
      Doubles leaves;
      std::vector<Floats> begin;
      for (const Size& size : {Size{steps, rows, kWidth, kFirst, kLSTM}, Size{steps, rows, kFirst, kSecond, kGRUBefore}}) {
        Case c;
        c.size = size, c.bias = true;
        Network net = draw_network(c, random);
        net.reverse = false, net.inputs = below;
        network.add_cell(size.cell, size.inputs, size.hidden, stored, &net);
        const ForwardWant want = reference_forward(c, net);
        append(want.final_h, &leaves);
        if (has_c(size.cell)) append(want.final_c, &leaves);
        for (const Floats& leaf : carry_of(net)) begin.push_back(leaf);
        below = Floats(want.outputs.begin(), want.outputs.end());
      }
      Floats w = random.floats(kSecond * kLast), bias = random.floats(kLast);
      network.add_dense(kSecond, kLast, stored, activation, &w, bias);
      Doubles want;
      for (int64_t place = 0; place < places; ++place) {
        Doubles sums(bias.begin(), bias.end());
        add_product(some(below, place, kSecond), w, kLast, 0, kLast, &sums);
        for (const double s : sums) want.push_back(of_activation(activation, s));
      }
      append(leaves, &want);
      for (const Kernels* kernels : all_kernels()) {
        check_same(kernels->name + std::string(" steps of a network"), "all",
                   network.run(*kernels, steps, rows, tokens.data(), begin), want);
      }
    }
  }
}

}  // namespace
}  // namespace rnnjax

#endif  // RNNJAX_TESTING_STEPS_H_
