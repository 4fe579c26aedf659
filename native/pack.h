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
        packs_(packs(size)),
        passing_(packs_in_passing(size)),
        all_(packed_width(size)),
        main_(size.cell == kGRUBefore ? 2 * padded(size.hidden, kGroup) : all_) {}

  // Of a panel, or of the candidate of a GRU that resets before.
  const float* bias(int64_t panel) const { return net_.scratch + main_at(panel); }
  const float* bias_candidate(int64_t panel) const { return net_.scratch + candidate_at(panel); }
  // `passing`: where `pack_passing` has put the panel, or null.
  Weights input(int64_t panel, const float* passing) const {
    if (passing) return {passing, row(), kGroup};
    return main(net_.w_ih, packed_input(), size_.inputs, panel);
  }
  Weights input_candidate(int64_t panel, const float* passing) const {
    if (passing) return {passing + size_.inputs * row(), 4 * kGroup, kGroup};
    return candidate(net_.w_ih, packed_input(), size_.inputs, panel);
  }
  Weights recurrent(int64_t panel) const { return main(net_.w_hh, packed_recurrent(), size_.hidden, panel); }
  Weights recurrent_candidate(int64_t panel) const {
    return candidate(net_.w_hh, packed_recurrent(), size_.hidden, panel);
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
    pack_part(net_.bias, 1, panel, net_.scratch + main_at(panel), net_.scratch + candidate_at(panel / 4));
    if (!packs_) return;
    if (!passing_) pack_whole(net_.w_ih, size_.inputs, panel, packed_input());
    pack_whole(net_.w_hh, size_.hidden, panel, packed_recurrent());
  }

  // A panel's weights of inputs, where they are not kept.
  int64_t passing_numbers() const {
    return passing_ ? size_.inputs * (row() + (main_ == all_ ? 0 : 4 * kGroup)) : 0;
  }
  void pack_passing(int64_t panel, float* to) const {
    pack_part(net_.w_ih, size_.inputs, panel, to, to + size_.inputs * row());
  }

 private:
  int32_t width() const { return gates(size_.cell) * hidden(); }
  int32_t hidden() const { return static_cast<int32_t>(size_.hidden); }
  int32_t row() const { return vectors() * kGroup; }  // numbers of a panel's row
  float* packed_input() const { return net_.scratch + all_; }
  float* packed_recurrent() const { return packed_input() + (passing_ ? 0 : size_.inputs * all_); }
  // Where a panel's part of a packed matrix begins, for each of its rows.
  int64_t main_at(int64_t panel) const { return panel * row(); }
  int64_t candidate_at(int64_t panel) const { return main_ + panel * 4 * kGroup; }

  Weights main(const float* given, const float* packed, int64_t depth, int64_t panel) const {
    if (packs_) return {packed + depth * main_at(panel), row(), kGroup};
    if (size_.cell >= kTanh) return {given + panel * 4 * kGroup, width(), kGroup};
    return {given + panel * kGroup, width(), hidden()};
  }
  Weights candidate(const float* given, const float* packed, int64_t depth, int64_t panel) const {
    if (packs_) return {packed + depth * candidate_at(panel), 4 * kGroup, kGroup};
    return {given + 2 * size_.hidden + panel * 4 * kGroup, width(), kGroup};
  }

  void pack_whole(const float* values, int64_t depth, int64_t panel, float* to) const {
    pack_part(values, depth, panel, to + depth * main_at(panel), to + depth * candidate_at(panel / 4));
  }

  // Of every fourth panel the candidate's weights, too, where they have panels of their own.
  void pack_part(const float* values, int64_t depth, int64_t panel, float* to, float* candidate) const {
    const int64_t h = size_.hidden;
    const Matrix matrix{values, depth, width(), 0};
    if (size_.cell >= kTanh) return pack_units(matrix, h, panel, to);
    pack_gates(matrix, h, vectors(), panel, to);
    if (main_ == all_ || panel % 4) return;
    pack_units({values, depth, width(), 2 * h}, h, panel / 4, candidate);
  }

  const Size size_;
  const Forward net_;
  const bool packs_, passing_;
  const int64_t all_, main_;  // numbers in a row, and those without the candidate's
};
