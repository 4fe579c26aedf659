// Results of the kernels against those of the reference. Part of test.cc.
#ifndef RNNJAX_TESTING_COMPARE_H_
#define RNNJAX_TESTING_COMPARE_H_

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "reference.h"
#include "runs.h"

namespace rnnjax {
namespace {

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

void check_zeros(const std::string& label, const char* what, const Network& net, const Floats& got,
                 int64_t width) {
  for (size_t i = 0; i < got.size(); ++i) {
    if (net.valid(i / width)) continue;
    CHECK(got[i] == 0, "%s: %s[%zu] is %g where nothing counts", label.c_str(), what, i, got[i]);
    if (got[i] != 0) return;
  }
}

void check_guards(const std::string& label, const char* what, const Floats& array) {
  const auto begin = array.end() - kGuards;
  CHECK(std::count(begin, array.end(), kGuard) == kGuards, "%s: written behind %s", label.c_str(), what);
}

void check_guarded(const std::string& label, const char* what, const Floats& got, const Doubles& want) {
  if (got.empty()) return;  // absent
  check_guards(label, what, got);
  check_same(label, what, Floats(got.begin(), got.end() - kGuards), want);
}

void check_forward(const Case& c, const std::vector<ForwardWant>& wants,
                   const std::vector<ForwardRun>& runs, const std::string& where) {
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
    CHECK(!c.keep || run.origins == want.origins, "%s: origins", label.c_str());
    check_same(label, "start c", run.start_c, want.start_c);
    check_zeros(label, "outputs", net, run.outputs, h);
    check_zeros(label, "columns", net, run.columns, c.width());
    check_zeros(label, "extra", net, run.extra, h);
    check_zeros(label, "start c", net, run.start_c, h);
    check_guards(label, "scratch", run.scratch);
  }
}

void check_backward(const Case& c, const std::vector<BackwardWant>& wants,
                    const std::vector<BackwardRun>& runs, const std::string& where) {
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
    check_guards(label, "scratch", run.scratch);
  }
}

void check_gradients(const Case& c, const std::vector<GradientsWant>& wants,
                     const std::vector<GradientsRun>& runs, const std::string& where) {
  for (size_t i = 0; i < runs.size(); ++i) {
    const GradientsRun& run = runs[i];
    const GradientsWant& want = wants[i];
    const std::string label = where + " " + c.text() + " gradients of " + std::to_string(i);
    check_guarded(label, "dw_ih", run.dw_ih, want.dw_ih);
    check_guarded(label, "dw_hh", run.dw_hh, want.dw_hh);
    check_guarded(label, "dbias", run.dbias, want.dbias);
    check_guarded(label, "dcandidate bias", run.dcandidate_bias, want.dcandidate_bias);
  }
}

struct Wanted {
  std::vector<ForwardWant> forward;
  std::vector<BackwardWant> backward;
  std::vector<GradientsWant> gradients;
};

Wanted references(Case& c) {
  Wanted want;
  for (Network& net : c.networks) {
    want.forward.push_back(reference_forward(c, net));
    keep_rounded(c, want.forward.back(), &net);
    want.backward.push_back(reference_backward(c, net));
    keep_deltas(c, want.backward.back(), &net);
    want.gradients.push_back(reference_gradients(c, net));
  }
  return want;
}

}  // namespace
}  // namespace rnnjax

#endif  // RNNJAX_TESTING_COMPARE_H_
