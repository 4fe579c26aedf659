// Weights in the order in which products read them. Included once for each instruction set.

// A matrix as it is given, `depth` rows of `width`, of which the loops take columns from `first` on.
struct Matrix {
  const float* values;
  int64_t depth, width, first;
};

// 16 columns of a matrix, of which `count` are there; the others are zero.
struct Group {
  int64_t column, count;
};

constexpr int64_t kAhead = 8;  // rows of a wide matrix are far apart: no processor foresees them

// The same groups of every row, side by side; without values all are zero.
static inline void pack_groups(const Matrix& from, const Group* groups, int number, float* to) {
  constexpr int64_t kBytes = kGroup * sizeof(float);
  for (int64_t k = 0; k < from.depth; ++k) {
    for (int g = 0; g < number; ++g, to += kGroup) {
      const int64_t count = from.values ? groups[g].count : 0;
      const float* values = count > 0 ? from.values + from.first + k * from.width + groups[g].column : nullptr;
      if (count >= kGroup) {  // a size that the compiler knows
        __builtin_memcpy(to, values, kBytes);
        if (k + kAhead < from.depth) __builtin_prefetch(values + kAhead * from.width);
      } else {
        __builtin_memset(to, 0, kBytes);
        if (count > 0) __builtin_memcpy(to, values, count * sizeof(float));
      }
    }
  }
}

// The gates of 16 units, `hidden` columns apart.
static inline void pack_gates(const Matrix& from, int64_t hidden, int gates, int64_t panel, float* to) {
  const int64_t unit = panel * kGroup;
  Group groups[4];
  for (int g = 0; g < gates; ++g) groups[g] = {g * hidden + unit, hidden - unit};
  pack_groups(from, groups, gates, to);
}

// 64 units of one gate.
static inline void pack_units(const Matrix& from, int64_t hidden, int64_t panel, float* to) {
  Group groups[4];
  for (int j = 0; j < 4; ++j) {
    const int64_t unit = (panel * 4 + j) * kGroup;
    groups[j] = {unit, hidden - unit};
  }
  pack_groups(from, groups, 4, to);
}

// 64 rows as columns: `to[k][unit]`, for `depth` columns.
static inline void pack_turned(const Matrix& from, int64_t hidden, int64_t panel, float* to) {
  constexpr int64_t kUnits = 4 * kGroup;
  const int64_t first = panel * kUnits, some = hidden - first < kUnits ? hidden - first : kUnits;
  if (some < kUnits) __builtin_memset(to, 0, from.depth * kUnits * sizeof(float));
  for (int64_t block = 0; block < from.depth; block += kGroup) {  // its columns stay in the cache
    const int64_t end = block + kGroup < from.depth ? block + kGroup : from.depth;
    for (int64_t u = 0; u < some; ++u) {
      const float* row = from.values + (first + u) * from.width + from.first;
      for (int64_t k = block; k < end; ++k) to[k * kUnits + u] = row[k];
    }
  }
}

// Where a network's packed weights stand in its scratch, and what follows them.
class Packed {
 public:
  Packed(const Size& size, const Forward& net)
      : size_(size),
        net_(net),
        main_(size.cell == kGRUBefore ? 2 * padded(size.hidden, kGroup) : packed_width(size)),
        more_(packed_width(size) - main_) {}

  // The panels of the input weights begin with a row of bias.
  float* input(int64_t panel) const { return net_.scratch + panel * vectors() * kGroup * input_depth(); }
  float* input_candidate(int64_t panel) const {
    return net_.scratch + input_depth() * (main_ + panel * 4 * kGroup);
  }
  float* recurrent(int64_t panel) const { return recurrent() + panel * vectors() * kGroup * size_.hidden; }
  float* recurrent_candidate(int64_t panel) const {
    return recurrent() + size_.hidden * (main_ + panel * 4 * kGroup);
  }
  // r * h and z of a GRU that resets before, if they are not kept.
  float* passed() const { return net_.scratch + packed_numbers(size_); }
  float* projected() const { return passed() + passed_numbers(size_); }
  int64_t projected_steps() const {
    const int64_t left = net_.scratch_numbers - packed_numbers(size_) - passed_numbers(size_);
    const int64_t steps = left / projected_numbers(size_);
    return steps < size_.steps ? steps : size_.steps;
  }
  // Of a panel.
  int vectors() const { return size_.cell == kGRUBefore ? 2 : size_.cell == kGRUAfter ? 3 : 4; }
  int64_t main_width() const { return main_; }

  void pack(int64_t panel) const {
    const int64_t h = size_.hidden, width = gates(size_.cell) * h, n = 2 * h;
    const Matrix bias{net_.bias, 1, width, 0}, bias_n{net_.bias, 1, width, n};
    const Matrix ih{net_.w_ih, size_.inputs, width, 0}, ih_n{net_.w_ih, size_.inputs, width, n};
    const Matrix hh{net_.w_hh, h, width, 0}, hh_n{net_.w_hh, h, width, n};
    const int row = vectors() * kGroup;
    if (size_.cell >= kTanh) {
      pack_units(bias, h, panel, input(panel));
      pack_units(ih, h, panel, input(panel) + row);
      pack_units(hh, h, panel, recurrent(panel));
      return;
    }
    pack_gates(bias, h, vectors(), panel, input(panel));
    pack_gates(ih, h, vectors(), panel, input(panel) + row);
    pack_gates(hh, h, vectors(), panel, recurrent(panel));
    if (more_ == 0 || panel % 4) return;
    pack_units(bias_n, h, panel / 4, input_candidate(panel / 4));
    pack_units(ih_n, h, panel / 4, input_candidate(panel / 4) + 4 * kGroup);
    pack_units(hh_n, h, panel / 4, recurrent_candidate(panel / 4));
  }

 private:
  int64_t input_depth() const { return size_.inputs + 1; }
  float* recurrent() const { return net_.scratch + input_depth() * (main_ + more_); }

  const Size size_;
  const Forward net_;
  const int64_t main_, more_;  // numbers in a row
};
