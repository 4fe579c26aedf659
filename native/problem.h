// What the loops are given: sizes and arrays, checked before they come here.
#ifndef RNNJAX_PROBLEM_H_
#define RNNJAX_PROBLEM_H_

#include <cstdint>
#include <vector>

namespace rnnjax {

enum Cell : int32_t { kLSTM = 0, kGRUAfter = 1, kGRUBefore = 2, kTanh = 3, kReLU = 4 };

inline bool known(int32_t cell) { return cell >= kLSTM && cell <= kReLU; }
inline int gates(int32_t cell) { return cell == kLSTM ? 4 : cell >= kTanh ? 1 : 3; }
inline bool has_c(int32_t cell) { return cell == kLSTM; }
inline bool has_extra(int32_t cell) { return cell == kGRUAfter || cell == kGRUBefore; }

// Of all networks of a call.
struct Size {
  int64_t steps, rows, inputs, hidden;
  int32_t cell;
};

inline int64_t padded(int64_t count, int64_t multiple) { return (count + multiple - 1) / multiple * multiple; }

// Numbers of a row of packed weights: units in groups of 16 that have all their gates side by
// side, and in groups of 64 where a product is of one gate alone.
inline int64_t packed_width(const Size& s) {
  const int64_t gates16 = padded(s.hidden, 16), gate64 = padded(s.hidden, 64);
  switch (s.cell) {
    case kLSTM: return 4 * gates16;
    case kGRUAfter: return 3 * gates16;
    case kGRUBefore: return 2 * gates16 + gate64;
    default: return gate64;
  }
}

// Numbers that a network needs beside its arrays. Forwards: packed bias and weights, what a GRU
// that resets before hands from one product to the other, and the projected inputs of some steps.
inline int64_t projected_numbers(const Size& s) { return s.rows * packed_width(s); }  // of a step
inline int64_t passed_numbers(const Size& s) { return s.cell == kGRUBefore ? 2 * s.rows * s.hidden : 0; }
// Weights are packed where that pays, and where units do not fill their groups. A single row reads
// them in order as they stand. Others pack what is read often; and what is read from afar sooner,
// since order helps there.
constexpr int64_t kManyWeights = 128 * 1024, kTileRows = 6;
inline bool packs(const Size& s) {
  if (s.hidden % 64 != 0) return true;
  const bool many = s.hidden * packed_width(s) > kManyWeights;
  const int64_t uses = s.steps * ((s.rows + kTileRows - 1) / kTileRows);
  return many ? uses > 2 : s.rows > 1 && uses > 12;
}
// Where inputs have more weights than this, a panel's are packed when a chunk is projected, and not kept.
#ifdef RNNJAX_SMALL  // as in jobs.h
constexpr int64_t kPassingWeights = 1024;
#else
constexpr int64_t kPassingWeights = 2 * 1024 * 1024;
#endif
inline bool packs_in_passing(const Size& s) {
  return packs(s) && s.inputs * packed_width(s) > kPassingWeights;
}
inline int64_t packed_numbers(const Size& s) {  // the bias always
  const int64_t inputs = packs_in_passing(s) ? 0 : s.inputs;
  return (1 + (packs(s) ? inputs + s.hidden : 0)) * packed_width(s);
}
inline int64_t least_forward_scratch(const Size& s) {
  return packed_numbers(s) + passed_numbers(s) + projected_numbers(s);
}
inline int64_t backward_scratch(const Size& s) { return gates(s.cell) * s.hidden * padded(s.hidden, 64); }

// A carry's leaves, (rows, hidden); null where a cell has no such leaf.
struct Carry {
  const float* h = nullptr;
  const float* c = nullptr;
};

struct MutableCarry {
  float* h = nullptr;
  float* c = nullptr;
};

// Where the carries stand that steps began with: in the outputs of an earlier step, or, where there
// is none, in what rows began with or were restarted with, (1 or 2, rows, hidden).
constexpr int32_t kBegun = -1, kRestarted = -2;
struct Starts {
  const int32_t* origins = nullptr;  // (steps, rows): the step whose outputs they are, or one of these
  const float* outputs = nullptr;
  int64_t outputs_width = 0;  // from row to row: several networks may share an array
  const float* first = nullptr;

  const float* h(const Size& s, int64_t step, int64_t row) const {
    const int64_t origin = origins[step * s.rows + row];
    if (origin >= 0) return outputs + (origin * s.rows + row) * outputs_width;
    return first + ((kBegun - origin) * s.rows + row) * s.hidden;
  }
};

// One network's forward pass. Arrays over time are (steps, rows, ...); what may be absent is null.
struct Forward {
  const float* inputs;
  const float* w_ih;  // (inputs, gates * hidden)
  const float* w_hh;  // (hidden, gates * hidden)
  const float* bias;
  const float* candidate_bias;  // b_hn
  Carry begin, fresh;
  const bool* mask;
  const bool* restarts;
  bool reverse;
  float* outputs;
  int64_t outputs_width;  // as in `Starts`
  MutableCarry final;
  float* columns;  // null: nothing is kept
  float* extra;    // the second buffer of columns
  int32_t* origins;  // of `Starts`
  float* start_c;
  float* scratch;
  int64_t scratch_numbers;  // at least `least_forward_scratch`; with more, more steps are projected at once
};

// One network's backward pass; deltas may stand in the place of the columns.
struct Backward {
  const float* columns;
  const float* extra;
  Starts starts;  // of a GRU
  const float* start_c;
  const float* w_hh;
  const float* doutputs;
  int64_t doutputs_width;  // as of outputs
  Carry dfinal;
  const bool* mask;
  const bool* restarts;
  bool reverse;  // as the forward pass
  float* deltas;
  float* extra_deltas;
  MutableCarry dbegin, dfresh;
  float* scratch;  // of `backward_scratch` numbers
};

// The gradients of one network's weights, from what the backward pass has made.
struct Gradients {
  const float* inputs;
  Starts starts;
  const float* deltas;
  const float* extra;  // deltas of the candidate's product, or what that product has read
  const bool* mask;
  float* dw_ih;
  float* dw_hh;
  float* dbias;
  float* dcandidate_bias;
};

// --- Streams: networks whose weights are packed once, a step or some steps a call.

// What stands in a table of layers beside the cells.
enum StepKind : int32_t { kDenseLayer = 16, kEmbeddingLayer = 17, kActivationLayer = 18 };
enum Activation : int32_t { kIdentityOf = 0, kTanhOf = 1, kReLUOf = 2, kSigmoidOf = 3, kSiLUOf = 4 };
enum Stored : int32_t { kFloat32 = 0, kBFloat16 = 1, kInt8 = 2 };

// A matrix of `rows`, packed: panels of 2, 3 or 4 groups of 16 columns, each row after row. In what
// rnnjax/methods/native/packing.py makes, columns that are not there are zero.
struct StepWeights {
  const void* values;
  const float* scales;  // of each column as packed, for kInt8; null for the others
  int64_t rows;
  int32_t stored;
};

// A layer, as rnnjax/methods/native/steps.py writes it. An embedding's vectors are not packed, and
// have a scale each.
struct StepLayer {
  int32_t kind, activation;
  int64_t inputs, outputs;
  StepWeights weights[4];       // of x and h; and of both for the candidate of a GRU that resets before
  const float* bias;            // as columns are packed
  const float* candidate_bias;  // of a GRU: b_hn, or the bias of such a candidate
};

struct StepCall {
  const StepLayer* layers;
  int64_t count, steps, rows;
  const void* x;              // (steps, rows, inputs), or (steps, rows) tokens in int64_t
  float* y;                   // (steps, rows, outputs)
  float* scratch;             // of `step_scratch` numbers
  const float* const* begin;  // the leaves of all carries, (rows, hidden)
  float* end;                 // the same, one behind the other
};

inline int64_t step_leaves(int32_t kind) { return kind == kLSTM ? 2 : known(kind) ? 1 : 0; }
inline int step_vectors(int32_t kind) { return kind == kGRUAfter ? 3 : kind == kGRUBefore ? 2 : 4; }
// Numbers in a row of sums of the first product of a layer.
inline int64_t step_width(const StepLayer& l) {
  switch (l.kind) {
    case kLSTM: return 4 * padded(l.outputs, 16);
    case kGRUAfter: return 3 * padded(l.outputs, 16);
    case kGRUBefore: return 2 * padded(l.outputs, 16);
    default: return padded(l.outputs, 64);
  }
}
inline int64_t step_input_bytes(const StepLayer& l) {  // of a row
  return l.kind == kEmbeddingLayer ? sizeof(int64_t) : l.inputs * sizeof(float);
}
constexpr int64_t kStepsTogether = 16;
inline int64_t together(const StepCall& c) { return c.steps < kStepsTogether ? c.steps : kStepsTogether; }
// Between two layers.
inline int64_t between_numbers(const StepCall& c) {
  int64_t widest = 0;
  for (int64_t l = 0; l + 1 < c.count; ++l) {
    if (c.layers[l].outputs > widest) widest = c.layers[l].outputs;
  }
  return together(c) * c.rows * padded(widest, 16);
}
// Sums of all steps, those of h, and those of a candidate.
inline int64_t step_scratch(const StepCall& c) {
  int64_t most = 0;
  for (int64_t l = 0; l < c.count; ++l) {
    const StepLayer& layer = c.layers[l];
    const int64_t width = step_width(layer);
    const int64_t candidate = layer.kind == kGRUBefore ? together(c) * padded(layer.outputs, 64) : 0;
    const int64_t numbers = c.rows * ((together(c) + 1) * width + candidate);
    if (numbers > most) most = numbers;
  }
  return most + 2 * between_numbers(c);
}

// Where the work of other threads is put.
class Pool {
 public:
  virtual ~Pool() = default;
  virtual int threads() const = 0;
  virtual void schedule(void (*task)(void*), void* data) = 0;
};

// The loops, compiled for one instruction set.
struct Kernels {
  const char* name;
  void (*forward)(const Size&, const std::vector<Forward>&, Pool&);
  void (*backward)(const Size&, const std::vector<Backward>&, Pool&);
  void (*gradients)(const Size&, const std::vector<Gradients>&, Pool&);
  void (*activations)(int64_t, const float*, float* sigmoid, float* tanh);
  void (*steps)(const StepCall&);
};

}  // namespace rnnjax

#endif  // RNNJAX_PROBLEM_H_
