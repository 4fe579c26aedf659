// Runs of the kernels on drawn problems. Part of test.cc.
#ifndef RNNJAX_TESTING_RUNS_H_
#define RNNJAX_TESTING_RUNS_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cases.h"

namespace rnnjax {
namespace {

// Numbers behind an array that must stay. The sanitizer sees more where there are none: reads, too.
#ifdef __SANITIZE_ADDRESS__
constexpr int64_t kGuards = 0;
#else
constexpr int64_t kGuards = 64;
#endif
constexpr float kGuard = 1e30f;

// What the kernels must write is NaN before, and so is scratch.

const float* given(const Floats& array) { return array.empty() ? nullptr : array.data(); }
float* given(Floats& array) { return array.empty() ? nullptr : array.data(); }
Floats blank(bool present, size_t count) { return Floats(present ? count : 0, kNaN); }

Floats guarded(bool present, int64_t numbers) {
  if (!present) return {};
  Floats array(numbers + kGuards, kNaN);
  std::fill(array.begin() + numbers, array.end(), kGuard);
  return array;
}

int64_t forward_scratch(const Case& c, const Network& net) {
  return least_forward_scratch(c.size) + net.spare;
}

struct ForwardRun {
  Floats outputs, final_h, final_c, columns, extra, start_c, scratch;
  Origins origins;
};

struct BackwardRun {
  Floats deltas, extra_deltas, dbegin_h, dbegin_c, dfresh_h, dfresh_c, scratch;
};

struct GradientsRun {
  Floats dw_ih, dw_hh, dbias, dcandidate_bias;
};

ForwardRun forward_buffers(const Case& c, const Network& net) {
  const size_t count = c.size.rows * c.size.hidden, all = c.size.steps * count;
  const bool has_c = rnnjax::has_c(c.size.cell);
  ForwardRun run;
  run.final_h = blank(true, count);
  run.final_c = blank(has_c, count);
  run.columns = blank(c.keep, all * gates(c.size.cell));
  run.extra = blank(c.keep && has_extra(c.size.cell), all);
  run.origins.assign(c.keep ? c.size.steps * c.size.rows : 0, -99);
  run.start_c = blank(c.keep && has_c, all);
  run.scratch = guarded(true, forward_scratch(c, net));
  return run;
}

// What all networks have side by side in an array, and the parts.
Floats side_by_side(const std::vector<const Floats*>& parts, int64_t width) {
  const int64_t number = parts.size(), places = width ? parts[0]->size() / width : 0;
  Floats all(number * parts[0]->size());
  for (int64_t n = 0; n < number; ++n) {
    for (int64_t p = 0; p < places; ++p) {
      std::copy_n(parts[n]->begin() + p * width, width, all.begin() + (p * number + n) * width);
    }
  }
  return all;
}

Floats part(const Floats& all, int64_t n, int64_t number, int64_t width) {
  Floats own(all.size() / number);
  for (size_t p = 0; p < own.size() / width; ++p) {
    std::copy_n(all.begin() + (p * number + n) * width, width, own.begin() + p * width);
  }
  return own;
}

Forward forward_arrays(const Case& c, const Network& net, ForwardRun& run) {
  Forward arrays;
  arrays.inputs = given(net.inputs);
  arrays.w_ih = given(net.w_ih);
  arrays.w_hh = given(net.w_hh);
  arrays.bias = given(net.bias);
  arrays.candidate_bias = given(net.candidate_bias);
  arrays.begin = {given(net.begin_h), given(net.begin_c)};
  arrays.fresh = {given(net.fresh_h), given(net.fresh_c)};
  arrays.mask = net.mask.get();
  arrays.restarts = net.restarts.get();
  arrays.reverse = net.reverse;
  arrays.final = {given(run.final_h), given(run.final_c)};
  arrays.columns = given(run.columns);
  arrays.extra = given(run.extra);
  arrays.origins = run.origins.data();
  arrays.start_c = given(run.start_c);
  arrays.scratch = given(run.scratch);
  arrays.scratch_numbers = forward_scratch(c, net);
  return arrays;
}

std::vector<ForwardRun> run_forward(const Kernels& kernels, const Case& c, Pool& pool) {
  std::vector<ForwardRun> runs;
  for (const Network& net : c.networks) runs.push_back(forward_buffers(c, net));
  const int64_t h = c.size.hidden, number = runs.size();
  Floats outputs = blank(true, c.size.steps * c.size.rows * h * number);
  std::vector<Forward> arrays;
  for (int64_t n = 0; n < number; ++n) {
    arrays.push_back(forward_arrays(c, c.networks[n], runs[n]));
    arrays.back().outputs = outputs.data() + n * h;
    arrays.back().outputs_width = number * h;
  }
  kernels.forward(c.size, arrays, pool);
  for (int64_t n = 0; n < number; ++n) runs[n].outputs = part(outputs, n, number, h);
  return runs;
}

// Where the carries stand that steps began with, of all networks.
class Kept {
 public:
  explicit Kept(const Case& c) : nets_(c.networks), hidden_(c.size.hidden) {
    std::vector<const Floats*> parts;
    for (const Network& net : nets_) {
      parts.push_back(&net.outputs);
      firsts_.push_back(net.first());
    }
    outputs_ = side_by_side(parts, hidden_);
  }

  Starts starts(int64_t n) const {
    const int64_t number = nets_.size();
    return {nets_[n].origins.data(), outputs_.data() + n * hidden_, number * hidden_, firsts_[n].data()};
  }

 private:
  const std::vector<Network>& nets_;
  const int64_t hidden_;
  Floats outputs_;
  std::vector<Floats> firsts_;
};

BackwardRun backward_buffers(const Case& c, const Network& net) {
  const size_t count = c.size.rows * c.size.hidden, all = c.size.steps * count;
  const bool has_c = rnnjax::has_c(c.size.cell), after = c.size.cell == kGRUAfter;
  BackwardRun run;
  run.deltas = c.in_place ? net.columns : blank(true, all * gates(c.size.cell));
  run.extra_deltas = c.in_place && after ? net.extra : blank(after, all);
  run.dbegin_h = blank(true, count);
  run.dbegin_c = blank(has_c, count);
  run.dfresh_h = blank(c.restarts, count);
  run.dfresh_c = blank(c.restarts && has_c, count);
  run.scratch = guarded(true, backward_scratch(c.size));
  return run;
}

Backward backward_arrays(const Case& c, const Network& net, BackwardRun& run) {
  Backward arrays;
  arrays.columns = given(c.in_place ? run.deltas : net.columns);
  arrays.extra = given(c.in_place && c.size.cell == kGRUAfter ? run.extra_deltas : net.extra);
  arrays.start_c = given(net.start_c);
  arrays.w_hh = given(net.w_hh);
  arrays.dfinal = {given(net.dfinal_h), given(net.dfinal_c)};
  arrays.mask = net.mask.get();
  arrays.restarts = net.restarts.get();
  arrays.reverse = net.reverse;
  arrays.deltas = given(run.deltas);
  arrays.extra_deltas = given(run.extra_deltas);
  arrays.dbegin = {given(run.dbegin_h), given(run.dbegin_c)};
  arrays.dfresh = {given(run.dfresh_h), given(run.dfresh_c)};
  arrays.scratch = given(run.scratch);
  return arrays;
}

std::vector<BackwardRun> run_backward(const Kernels& kernels, const Case& c, Pool& pool) {
  std::vector<BackwardRun> runs;
  for (const Network& net : c.networks) runs.push_back(backward_buffers(c, net));
  std::vector<const Floats*> parts;
  for (const Network& net : c.networks) parts.push_back(&net.doutputs);
  const int64_t h = c.size.hidden, number = runs.size();
  const Floats doutputs = side_by_side(parts, h);
  const Kept kept(c);
  std::vector<Backward> arrays;
  for (int64_t n = 0; n < number; ++n) {
    arrays.push_back(backward_arrays(c, c.networks[n], runs[n]));
    arrays.back().doutputs = doutputs.data() + n * h;
    arrays.back().doutputs_width = number * h;
    if (has_extra(c.size.cell)) arrays.back().starts = kept.starts(n);
  }
  kernels.backward(c.size, arrays, pool);
  return runs;
}

GradientsRun gradients_buffers(const Case& c, const Network& net) {
  GradientsRun run;
  run.dw_ih = guarded(true, c.size.inputs * c.width());
  run.dw_hh = guarded(true, c.size.hidden * c.width());
  run.dbias = guarded(!net.bias.empty(), c.width());
  run.dcandidate_bias = guarded(!net.candidate_bias.empty(), c.size.hidden);
  return run;
}

Gradients gradients_arrays(const Network& net, GradientsRun& run) {
  Gradients arrays;
  arrays.inputs = given(net.inputs);
  arrays.deltas = given(net.deltas);
  arrays.extra = given(net.candidate);
  arrays.mask = net.mask.get();
  arrays.dw_ih = given(run.dw_ih);
  arrays.dw_hh = given(run.dw_hh);
  arrays.dbias = given(run.dbias);
  arrays.dcandidate_bias = given(run.dcandidate_bias);
  return arrays;
}

std::vector<GradientsRun> run_gradients(const Kernels& kernels, const Case& c, Pool& pool) {
  std::vector<GradientsRun> runs;
  for (const Network& net : c.networks) runs.push_back(gradients_buffers(c, net));
  std::vector<Gradients> arrays;
  const Kept kept(c);
  for (size_t i = 0; i < runs.size(); ++i) {
    arrays.push_back(gradients_arrays(c.networks[i], runs[i]));
    arrays.back().starts = kept.starts(i);
  }
  kernels.gradients(c.size, arrays, pool);
  return runs;
}

}  // namespace
}  // namespace rnnjax

#endif  // RNNJAX_TESTING_RUNS_H_
