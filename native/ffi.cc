// What XLA calls. Every shape is checked against the sizes of the first array before anything is
// read; what is absent comes as an array without elements.
#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels.h"
#include "pages.h"
#include "workspace.h"
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

// A later network's part of an array; null if there is none.
template <class T>
T* side_by_side(T* first, int64_t numbers) {
  return first ? first + numbers : nullptr;
}

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
    if (!std::is_const_v<T>) use_large_pages(array.untyped_data(), array.size_bytes());
    return static_cast<T*>(array.untyped_data());
  }

  template <class T>
  T* floats(const char* name, std::initializer_list<int64_t> wanted, bool optional = false) {
    return take<T>(name, ffi::F32, wanted, optional);
  }

  // Where the steps of the n-th network began. It has its part of the outputs of the first one; what
  // rows began with, and were restarted with if they were, are one array.
  Starts starts(const Size& s, int64_t networks, int64_t n, const Starts& first, bool optional) {
    const int64_t width = networks * s.hidden;
    Starts starts;
    starts.origins = take<const int32_t>("origins", ffi::S32, {s.steps, s.rows}, optional);
    starts.outputs_width = width;
    if (n == 0) {
      starts.outputs = floats<const float>("outputs", {s.steps, s.rows, width}, optional);
    } else {
      floats<const float>("outputs of a later network", {0});
      starts.outputs = side_by_side(first.outputs, n * s.hidden);
    }
    const auto got = arrays_.template get<ffi::AnyBuffer>(index_);
    int64_t several = 1;
    if (got.has_value() && buffer(*got).dimensions().size() == 3) several += buffer(*got).dimensions()[0] == 2;
    starts.first = floats<const float>("first carries", {several, s.rows, s.hidden}, optional);
    const int64_t places = starts.origins && error_.empty() ? s.steps * s.rows : 0;
    for (int64_t i = 0; i < places; ++i) {
      if (starts.origins[i] >= -several && starts.origins[i] < s.steps) continue;
      fail("origins name what is not there");
      break;
    }
    return starts;
  }

  // A matrix, or one of several that stand one after the other.
  const float* matrix(const char* name, int64_t rows, int64_t columns, int64_t number) {
    const auto got = arrays_.template get<ffi::AnyBuffer>(index_);
    if (!got.has_value() || buffer(*got).dimensions().size() != 3) {
      return floats<const float>(name, {rows, columns});
    }
    const int64_t several = buffer(*got).dimensions()[0];
    const float* first = floats<const float>(name, {several, rows, columns});
    if (first && number >= 0 && number < several) return first + number * rows * columns;
    fail(std::string(name) + " has not so many matrices");
    return nullptr;
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
constexpr int64_t kBackwardArguments = 12, kBackwardResults = 6;
constexpr int64_t kGradientsArguments = 7, kGradientsResults = 4;

constexpr int64_t kMostScratch = int64_t{1} << 40;  // numbers: of more, bytes might not be counted
int64_t aligned(int64_t numbers) { return padded(numbers, 16); }  // lines of the cache

ffi::Error invalid(const std::string& text) { return ffi::Error::InvalidArgument(text); }

using PerNetwork = ffi::Span<const int32_t>;

// Sizes from an array over time, (steps, rows, inputs), and one that ends with (hidden); and
// whether there are as many arrays as the networks ask for.
template <class Arguments, class Results>
bool read_size(const Arguments& arguments, const Results& results, size_t over_time, size_t hidden,
               size_t taken, size_t made, int32_t cell, size_t networks, Size* size) {
  if (!known(cell) || networks == 0) return false;
  if (arguments.size() != networks * taken || results.size() != networks * made) return false;
  const auto steps = arguments.template get<ffi::AnyBuffer>(over_time);
  const auto units = arguments.template get<ffi::AnyBuffer>(hidden);
  if (!steps.has_value() || !units.has_value()) return false;
  const auto all = steps->dimensions(), last = units->dimensions();
  if (all.size() != 3 || last.size() == 0) return false;
  *size = {all[0], all[1], all[2], last.back(), cell};
  return true;
}

// Memory for every network to work in, `numbers` of each; null, and an error, if that is not enough
// or cannot be had.
std::unique_ptr<Workspace> workspace(size_t networks, int64_t numbers, int64_t least, ffi::Error* error) {
  if (numbers < least) {
    *error = invalid("rnnjax native: scratch is too small");
    return nullptr;
  }
  try {
    if (numbers > kMostScratch) throw std::bad_alloc();
    return std::make_unique<Workspace>(networks * aligned(numbers));
  } catch (const std::bad_alloc&) {
    *error = ffi::Error(ffi::ErrorCode::kResourceExhausted, "rnnjax native: no memory to work in");
    return nullptr;
  }
}

ffi::Error wrong_number() {
  return invalid("rnnjax native: the number of arrays, or the shape of the first, is wrong");
}

// `reverse` and `number` are of each network: whether it runs backwards, and which matrix of a
// stack is its own.
ffi::Error run_forward(ffi::ThreadPool pool, int32_t cell, bool keep, int64_t scratch, PerNetwork reverse,
                       PerNetwork number, ffi::RemainingArgs arguments, ffi::RemainingRets results) {
  Size size;
  if (!read_size(arguments, results, 0, 5, kForwardArguments, kForwardResults, cell, reverse.size(), &size) ||
      number.size() != reverse.size()) {
    return wrong_number();
  }
  const int64_t t = size.steps, b = size.rows, h = size.hidden, g = gates(cell) * h;
  const bool c = has_c(cell);
  Reader<ffi::RemainingArgs> in(arguments, "argument");
  Reader<ffi::RemainingRets> out(results, "result");
  std::vector<Forward> nets(reverse.size());
  const int64_t all = nets.size() * h;  // outputs of all networks, side by side in an array of the first
  for (size_t n = 0; n < nets.size(); ++n) {
    Forward& net = nets[n];
    net.reverse = reverse[n];
    net.inputs = in.floats<const float>("inputs", {t, b, size.inputs});
    net.w_ih = in.matrix("w_ih", size.inputs, g, number[n]);
    net.w_hh = in.matrix("w_hh", h, g, number[n]);
    net.bias = in.floats<const float>("bias", {g}, true);
    net.candidate_bias = in.floats<const float>("candidate bias", {h}, true);
    net.begin.h = in.floats<const float>("begin.h", {b, h});
    net.begin.c = in.floats<const float>("begin.c", {b, h}, !c);
    net.mask = in.take<const bool>("mask", ffi::PRED, {t, b}, true);
    net.restarts = in.take<const bool>("restarts", ffi::PRED, {t, b}, true);
    const bool fresh = net.restarts != nullptr;
    net.fresh.h = in.floats<const float>("fresh.h", {b, h}, !fresh);
    net.fresh.c = in.floats<const float>("fresh.c", {b, h}, !fresh || !c);
    net.outputs = n == 0 ? out.floats<float>("outputs", {t, b, all}) : side_by_side(nets[0].outputs, n * h);
    if (n > 0) out.floats<float>("outputs of a later network", {0});
    net.outputs_width = all;
    net.final.h = out.floats<float>("final.h", {b, h});
    net.final.c = out.floats<float>("final.c", {b, h}, !c);
    net.columns = out.floats<float>("columns", {t * b, g}, !keep);
    net.extra = out.floats<float>("extra", {t, b, h}, !keep || !has_extra(cell));
    net.origins = out.take<int32_t>("origins", ffi::S32, {t, b}, !keep);
    net.start_c = out.floats<float>("start.c", {t, b, h}, !keep || !c);
  }
  if (!in.error().empty()) return invalid(in.error());
  if (!out.error().empty()) return invalid(out.error());
  if (b == 0 || h == 0) return ffi::Error::Success();
  ffi::Error error = ffi::Error::Success();
  const auto memory = workspace(nets.size(), scratch, least_forward_scratch(size), &error);
  if (!memory) return error;
  for (size_t n = 0; n < nets.size(); ++n) {
    nets[n].scratch = memory->numbers() + n * aligned(scratch);
    nets[n].scratch_numbers = scratch;
  }
  XlaPool threads(pool);
  selected.load()->forward(size, nets, threads);
  return ffi::Error::Success();
}

ffi::Error run_backward(ffi::ThreadPool pool, int32_t cell, int64_t scratch, PerNetwork reverse,
                        PerNetwork number, ffi::RemainingArgs arguments, ffi::RemainingRets results) {
  Size size;
  if (!read_size(arguments, results, 7, 8, kBackwardArguments, kBackwardResults, cell, reverse.size(), &size) ||
      number.size() != reverse.size()) {
    return wrong_number();
  }
  const int64_t t = size.steps, b = size.rows, h = size.hidden, g = gates(cell) * h;
  const bool c = has_c(cell);
  Reader<ffi::RemainingArgs> in(arguments, "argument");
  Reader<ffi::RemainingRets> out(results, "result");
  std::vector<Backward> nets(reverse.size());
  const int64_t all = nets.size() * h;
  for (size_t n = 0; n < nets.size(); ++n) {
    Backward& net = nets[n];
    net.reverse = reverse[n];
    net.columns = in.floats<const float>("columns", {t * b, g});
    net.extra = in.floats<const float>("extra", {t, b, h}, !has_extra(cell));
    net.starts = in.starts(size, nets.size(), n, nets[0].starts, !has_extra(cell));
    net.start_c = in.floats<const float>("start.c", {t, b, h}, !c);
    net.w_hh = in.matrix("w_hh", h, g, number[n]);
    net.doutputs = n == 0 ? in.floats<const float>("cotangent of outputs", {t, b, all})
                          : side_by_side(nets[0].doutputs, n * h);
    if (n > 0) in.floats<const float>("cotangent of a later network's outputs", {0});
    net.doutputs_width = all;
    net.dfinal.h = in.floats<const float>("cotangent of final.h", {b, h});
    net.dfinal.c = in.floats<const float>("cotangent of final.c", {b, h}, !c);
    net.mask = in.take<const bool>("mask", ffi::PRED, {t, b}, true);
    net.restarts = in.take<const bool>("restarts", ffi::PRED, {t, b}, true);
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
  ffi::Error error = ffi::Error::Success();
  const auto memory = workspace(nets.size(), scratch, backward_scratch(size), &error);
  if (!memory) return error;
  for (size_t n = 0; n < nets.size(); ++n) {
    nets[n].scratch = memory->numbers() + n * aligned(scratch);
  }
  XlaPool threads(pool);
  selected.load()->backward(size, nets, threads);
  return ffi::Error::Success();
}

ffi::Error run_gradients(ffi::ThreadPool pool, int32_t cell, ffi::RemainingArgs arguments,
                         ffi::RemainingRets results) {
  Size size;
  const size_t networks = arguments.size() / kGradientsArguments;
  if (!read_size(arguments, results, 0, 3, kGradientsArguments, kGradientsResults, cell, networks, &size)) {
    return wrong_number();
  }
  const int64_t t = size.steps, b = size.rows, h = size.hidden, g = gates(cell) * h;
  Reader<ffi::RemainingArgs> in(arguments, "argument");
  Reader<ffi::RemainingRets> out(results, "result");
  std::vector<Gradients> nets(networks);
  for (size_t n = 0; n < nets.size(); ++n) {
    Gradients& net = nets[n];
    net.inputs = in.floats<const float>("inputs", {t, b, size.inputs});
    net.starts = in.starts(size, networks, n, nets[0].starts, false);
    net.deltas = in.floats<const float>("deltas", {t * b, g});
    net.extra = in.floats<const float>("extra", {t, b, h}, !has_extra(cell));
    net.mask = in.take<const bool>("mask", ffi::PRED, {t, b}, true);
    net.dw_ih = out.floats<float>("gradient of w_ih", {size.inputs, g});
    net.dw_hh = out.floats<float>("gradient of w_hh", {h, g});
    net.dbias = out.floats<float>("gradient of bias", {g}, true);
    net.dcandidate_bias = out.floats<float>("gradient of candidate bias", {h}, true);
  }
  if (!in.error().empty()) return invalid(in.error());
  if (!out.error().empty()) return invalid(out.error());
  if (h == 0) return ffi::Error::Success();
  XlaPool threads(pool);
  selected.load()->gradients(size, nets, threads);
  return ffi::Error::Success();
}

}  // namespace
}  // namespace rnnjax

XLA_FFI_DEFINE_HANDLER_SYMBOL(rnnjax_forward, rnnjax::run_forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<int32_t>("cell")
                                  .Attr<bool>("keep")
                                  .Attr<int64_t>("scratch")
                                  .Attr<rnnjax::PerNetwork>("reverse")
                                  .Attr<rnnjax::PerNetwork>("number")
                                  .RemainingArgs()
                                  .RemainingRets());

XLA_FFI_DEFINE_HANDLER_SYMBOL(rnnjax_backward, rnnjax::run_backward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<int32_t>("cell")
                                  .Attr<int64_t>("scratch")
                                  .Attr<rnnjax::PerNetwork>("reverse")
                                  .Attr<rnnjax::PerNetwork>("number")
                                  .RemainingArgs()
                                  .RemainingRets());

XLA_FFI_DEFINE_HANDLER_SYMBOL(rnnjax_gradients, rnnjax::run_gradients,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Attr<int32_t>("cell")
                                  .RemainingArgs()
                                  .RemainingRets());

// The interface between this library and rnnjax/methods/native: raised when either side changes.
extern "C" int rnnjax_interface() { return 8; }

extern "C" const char* rnnjax_instruction_set() { return rnnjax::selected.load()->name; }

// Takes other kernels, for tests; 0 if this processor has no such instructions.
extern "C" int rnnjax_select(const char* name) {
  const rnnjax::Kernels* found = rnnjax::find(name);
  if (found) rnnjax::selected.store(found);
  return found != nullptr;
}

// Streams, called without XLA. `words` are the address of layers and their number, steps and rows;
// the addresses of x, y, scratch and new carries; and those of the leaves of old ones.
extern "C" void rnnjax_steps(const int64_t* words) {
  const auto array = [words](int i) { return reinterpret_cast<float*>(words[i]); };
  const auto* const layers = reinterpret_cast<const rnnjax::StepLayer*>(words[0]);
  const auto* const begin = reinterpret_cast<const float* const*>(words + 8);
  rnnjax::selected.load()->steps({layers, words[1], words[2], words[3], array(4), array(5), array(6), begin, array(7)});
}

extern "C" int64_t rnnjax_step_scratch(const rnnjax::StepLayer* layers, int64_t count, int64_t steps, int64_t rows) {
  return rnnjax::step_scratch({layers, count, steps, rows, nullptr, nullptr, nullptr, nullptr, nullptr});
}
