// Runs of the kernels on drawn problems. Part of test.cc.
#ifndef RNNJAX_TESTING_RUNS_H_
#define RNNJAX_TESTING_RUNS_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "cases.h"

namespace rnnjax {
namespace {

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
  packed.weights = pack_columns(before ? 2 * h : width, h,
                                [&](int64_t k, int64_t u) { return net.w[u * width + k]; });
  if (before) {
    packed.more = pack_columns(h, h, [&](int64_t k, int64_t u) { return net.w[u * width + 2 * h + k]; });
  }
  return packed;
}

// What the kernels must write is NaN before.

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

}  // namespace
}  // namespace rnnjax

#endif  // RNNJAX_TESTING_RUNS_H_
