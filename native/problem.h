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

struct Size {
  int64_t steps, rows, hidden;
  int32_t cell;
  bool reverse;

  // The step that is visited as the v-th, when outputs are computed.
  int64_t step(int64_t visit) const { return reverse ? steps - 1 - visit : visit; }
};

// A carry's leaves, (rows, hidden); null where a cell has no such leaf.
struct Carry {
  const float* h = nullptr;
  const float* c = nullptr;
};

struct MutableCarry {
  float* h = nullptr;
  float* c = nullptr;
};

// One network's forward pass. Arrays over time are (steps, rows, ...); what may be absent is null.
// Kept columns may stand in the place of the projected inputs.
struct Forward {
  const float* projected;
  const float* weights;       // packed
  const float* more_weights;  // packed: those of the candidate, of a GRU that resets before
  const float* bias;
  const float* candidate_bias;  // b_hn
  Carry begin, fresh;
  const bool* mask;
  const bool* restarts;
  float* outputs;
  MutableCarry final;
  float* columns;  // null: nothing is kept
  float* extra;    // the second buffer of columns
  MutableCarry starts;
};

// One network's backward pass; deltas may stand in the place of the columns.
struct Backward {
  const float* columns;
  const float* extra;
  Carry starts;
  const float* weights;
  const float* more_weights;
  const float* doutputs;
  Carry dfinal;
  const bool* mask;
  const bool* restarts;
  float* deltas;
  float* extra_deltas;
  MutableCarry dbegin, dfresh;
};

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
  void (*activations)(int64_t, const float*, float* sigmoid, float* tanh);
};

}  // namespace rnnjax

#endif  // RNNJAX_PROBLEM_H_
