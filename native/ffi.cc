// What XLA calls. Every shape is checked against the sizes of the first array before anything is
// read; what is absent comes as an array without elements.
#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "kernels.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace rnnjax {
namespace {

std::atomic<const Kernels*> selected{find(nullptr)};

class XlaPool final : public Pool {
 public:
  explicit XlaPool(ffi::ThreadPool pool) : pool_(pool) {}
  int threads() const override { return static_cast<int>(pool_.num_threads()); }
  void schedule(void (*task)(void*), void* data) override {
    pool_.Schedule([task, data] { task(data); });
  }

 private:
  ffi::ThreadPool pool_;
};

// Takes arrays one after the other and remembers the first thing that is wrong.
template <class Arrays>
class Reader {
 public:
  Reader(const Arrays& arrays, const char* what) : arrays_(arrays), what_(what) {}

  // The array, which must have these dimensions; null if it may be absent and is.
  template <class T>
  T* take(const char* name, ffi::DataType type, std::initializer_list<int64_t> wanted, bool optional = false) {
    auto got = arrays_.template get<ffi::AnyBuffer>(index_++);
    if (!got.has_value()) {
      fail(std::string(name) + " is missing");
      return nullptr;
    }
    const ffi::AnyBuffer array = buffer(*got);
    const auto dimensions = array.dimensions();
    if (optional && array.element_count() == 0) return nullptr;
    bool same = array.element_type() == type && dimensions.size() == wanted.size();
    size_t i = 0;
    for (const int64_t size : wanted) same = same && dimensions[i++] == size;
    if (!same) {
      fail(std::string(name) + " has another shape or dtype than the sizes of the call ask for");
      return nullptr;
    }
    return static_cast<T*>(array.untyped_data());
  }

  template <class T>
  T* floats(const char* name, std::initializer_list<int64_t> wanted, bool optional = false) {
    return take<T>(name, ffi::F32, wanted, optional);
  }

  const std::string& error() const { return error_; }

 private:
  static ffi::AnyBuffer buffer(ffi::AnyBuffer array) { return array; }
  static ffi::AnyBuffer buffer(ffi::Result<ffi::AnyBuffer> array) { return *array; }

  void fail(const std::string& text) {
    if (error_.empty()) error_ = std::string("rnnjax native: ") + what_ + " " + std::to_string(index_ - 1) + ": " + text;
  }

  const Arrays& arrays_;
  const char* what_;
  size_t index_ = 0;
  std::string error_;
};

constexpr int64_t kForwardArguments = 11, kForwardResults = 7;
constexpr int64_t kBackwardArguments = 11, kBackwardResults = 6;

int64_t groups(int64_t units, int64_t of) { return (units + of - 1) / of; }

// Sizes of packed weights: (panels, depth, width).
struct Packed {
  int64_t panels, depth, width;
};

ffi::Error invalid(const std::string& text) { return ffi::Error::InvalidArgument(text); }

// Sizes from the first two arrays that are named: (steps * rows, gates * hidden), (rows, hidden).
bool read_size(const ffi::RemainingArgs& arguments, size_t carry, int32_t cell, bool reverse, Size* size) {
  auto over_time = arguments.get<ffi::AnyBuffer>(0);
  auto of_rows = arguments.get<ffi::AnyBuffer>(carry);
  if (!known(cell) || !over_time.has_value() || !of_rows.has_value()) return false;
  const auto all = over_time->dimensions(), one = of_rows->dimensions();
  if (all.size() != 2 || one.size() != 2) return false;
  if (one[0] == 0 ? all[0] != 0 : all[0] % one[0] != 0) return false;
  *size = {one[0] ? all[0] / one[0] : 0, one[0], one[1], cell, reverse};
  return true;
}

ffi::Error run_forward(ffi::ThreadPool pool, int32_t cell, bool reverse, bool keep,
                       ffi::RemainingArgs arguments, ffi::RemainingRets results) {
  Size size;
  const int64_t networks = arguments.size() / kForwardArguments;
  if (!read_size(arguments, 5, cell, reverse, &size) || networks == 0 ||
      arguments.size() % kForwardArguments || results.size() != static_cast<size_t>(networks * kForwardResults)) {
    return invalid("rnnjax native: the number of arrays, or the shape of the first, is wrong");
  }
  const int64_t t = size.steps, b = size.rows, h = size.hidden, g = gates(cell) * h;
  const bool c = has_c(cell), before = cell == kGRUBefore;
  const Packed w = cell == kLSTM       ? Packed{groups(h, 16), h, 64}
                   : cell == kGRUAfter ? Packed{groups(h, 16), h, 48}
                   : before            ? Packed{groups(h, 16), h, 32}
                                       : Packed{groups(h, 64), h, 64};
  Reader<ffi::RemainingArgs> in(arguments, "argument");
  Reader<ffi::RemainingRets> out(results, "result");
  std::vector<Forward> nets(networks);
  for (Forward& net : nets) {
    net.projected = in.floats<float>("projected", {t * b, g});
    net.weights = in.floats<float>("weights", {w.panels, w.depth, w.width});
    net.more_weights = in.floats<float>("more weights", {groups(h, 64), h, 64}, !before);
    net.bias = in.floats<float>("bias", {g}, true);
    net.candidate_bias = in.floats<float>("candidate bias", {h}, true);
    net.begin.h = in.floats<float>("begin.h", {b, h});
    net.begin.c = in.floats<float>("begin.c", {b, h}, !c);
    net.mask = in.take<bool>("mask", ffi::PRED, {t, b}, true);
    net.restarts = in.take<bool>("restarts", ffi::PRED, {t, b}, true);
    const bool fresh = net.restarts != nullptr;
    net.fresh.h = in.floats<float>("fresh.h", {b, h}, !fresh);
    net.fresh.c = in.floats<float>("fresh.c", {b, h}, !fresh || !c);
    net.outputs = out.floats<float>("outputs", {t, b, h});
    net.final.h = out.floats<float>("final.h", {b, h});
    net.final.c = out.floats<float>("final.c", {b, h}, !c);
    net.columns = out.floats<float>("columns", {t * b, g}, !keep);
    net.extra = out.floats<float>("extra", {t, b, h}, !keep || !has_extra(cell));
    net.starts.h = out.floats<float>("starts.h", {t, b, h}, !keep);
    net.starts.c = out.floats<float>("starts.c", {t, b, h}, !keep || !c);
  }
  if (!in.error().empty()) return invalid(in.error());
  if (!out.error().empty()) return invalid(out.error());
  if (b == 0 || h == 0) return ffi::Error::Success();
  XlaPool threads(pool);
  selected.load()->forward(size, nets, threads);
  return ffi::Error::Success();
}

ffi::Error run_backward(ffi::ThreadPool pool, int32_t cell, bool reverse,
                        ffi::RemainingArgs arguments, ffi::RemainingRets results) {
  Size size;
  const int64_t networks = arguments.size() / kBackwardArguments;
  if (!read_size(arguments, 7, cell, reverse, &size) || networks == 0 ||
      arguments.size() % kBackwardArguments || results.size() != static_cast<size_t>(networks * kBackwardResults)) {
    return invalid("rnnjax native: the number of arrays, or the shape of the first, is wrong");
  }
  const int64_t t = size.steps, b = size.rows, h = size.hidden, g = gates(cell) * h;
  const bool c = has_c(cell), before = cell == kGRUBefore, extra = has_extra(cell);
  const int64_t depth = before ? 2 * h : g;
  Reader<ffi::RemainingArgs> in(arguments, "argument");
  Reader<ffi::RemainingRets> out(results, "result");
  std::vector<Backward> nets(networks);
  for (Backward& net : nets) {
    net.columns = in.floats<float>("columns", {t * b, g});
    net.extra = in.floats<float>("extra", {t, b, h}, !extra);
    net.starts.h = in.floats<float>("starts.h", {t, b, h});
    net.starts.c = in.floats<float>("starts.c", {t, b, h}, !c);
    net.weights = in.floats<float>("weights", {groups(h, 64), depth, 64});
    net.more_weights = in.floats<float>("more weights", {groups(h, 64), h, 64}, !before);
    net.doutputs = in.floats<float>("cotangent of outputs", {t, b, h});
    net.dfinal.h = in.floats<float>("cotangent of final.h", {b, h});
    net.dfinal.c = in.floats<float>("cotangent of final.c", {b, h}, !c);
    net.mask = in.take<bool>("mask", ffi::PRED, {t, b}, true);
    net.restarts = in.take<bool>("restarts", ffi::PRED, {t, b}, true);
    const bool fresh = net.restarts != nullptr;
    net.deltas = out.floats<float>("deltas", {t * b, g});
    net.extra_deltas = out.floats<float>("extra deltas", {t, b, h}, cell != kGRUAfter);
    net.dbegin.h = out.floats<float>("cotangent of begin.h", {b, h});
    net.dbegin.c = out.floats<float>("cotangent of begin.c", {b, h}, !c);
    net.dfresh.h = out.floats<float>("cotangent of fresh.h", {b, h}, !fresh);
    net.dfresh.c = out.floats<float>("cotangent of fresh.c", {b, h}, !fresh || !c);
  }
  if (!in.error().empty()) return invalid(in.error());
  if (!out.error().empty()) return invalid(out.error());
  if (b == 0 || h == 0) return ffi::Error::Success();
  XlaPool threads(pool);
  selected.load()->backward(size, nets, threads);
  return ffi::Error::Success();
}

}  // namespace
}  // namespace rnnjax

XLA_FFI_DEFINE_HANDLER_SYMBOL(rnnjax_forward, rnnjax::run_forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<int32_t>("cell")
                                  .Attr<bool>("reverse")
                                  .Attr<bool>("keep")
                                  .RemainingArgs()
                                  .RemainingRets());

XLA_FFI_DEFINE_HANDLER_SYMBOL(rnnjax_backward, rnnjax::run_backward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<int32_t>("cell")
                                  .Attr<bool>("reverse")
                                  .RemainingArgs()
                                  .RemainingRets());

// The interface between this library and rnnjax/methods/native: raised when either side changes.
extern "C" int rnnjax_interface() { return 1; }

extern "C" const char* rnnjax_instruction_set() { return rnnjax::selected.load()->name; }

// Takes other kernels, for tests; 0 if this processor has no such instructions.
extern "C" int rnnjax_select(const char* name) {
  const rnnjax::Kernels* found = rnnjax::find(name);
  if (found) rnnjax::selected.store(found);
  return found != nullptr;
}
