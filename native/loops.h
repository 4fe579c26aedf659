// The loops over time. Included once for each instruction set.
//
// A row that does not count at a step is left out of the step's product: it costs nothing but the
// zeros that are written. The rows of an operand are found through pointers, so nothing is moved.

// The rows `first, first + stride, ...` on their way through time.
class Walk {
 public:
  Walk(const Size& size, const bool* mask, bool reverse, int64_t first, int64_t stride)
      : size_(size), mask_(mask), reverse_(reverse), first_(first), stride_(stride) {
    const int64_t count = (size.rows - first + stride - 1) / stride;
    last_.assign(count, -1);
    rows_.reserve(count);
    before_.reserve(count);
    idle_.reserve(count);
  }

  // Goes on to a visit. Later visits only; those between are passed over.
  void go(int64_t visit) {
    for (; at_ < visit; ++at_) {
      if (at_ >= 0) pass(step(at_));
    }
    rows_.clear();
    before_.clear();
    idle_.clear();
    const bool end = visit == size_.steps;
    const int64_t now = end ? 0 : step(visit);
    for (int64_t i = 0, row = first_; row < size_.rows; ++i, row += stride_) {
      // At the end all rows are met that have been somewhere.
      if (end ? last_[i] >= 0 : valid(now, row)) {
        rows_.push_back(row);
        before_.push_back(last_[i]);
      } else {
        idle_.push_back(row);
      }
    }
  }

  // The step that is visited as the v-th.
  int64_t step(int64_t visit) const { return reverse_ ? size_.steps - 1 - visit : visit; }

  // Calls `use(step, row)` for every row that counts at a visit.
  template <class Use>
  void each_valid(int64_t visit, Use use) const {
    const int64_t now = step(visit);
    for (int64_t row = first_; row < size_.rows; row += stride_) {
      if (valid(now, row)) use(now, row);
    }
  }

  int64_t at() const { return at_; }
  const std::vector<int64_t>& rows() const { return rows_; }
  const std::vector<int64_t>& idle() const { return idle_; }
  // The step at which each of `rows()` was last valid, or -1.
  const std::vector<int64_t>& before() const { return before_; }

 private:
  bool valid(int64_t step, int64_t row) const {
    return mask_ == nullptr || mask_[step * size_.rows + row];
  }

  void pass(int64_t step) {
    for (int64_t i = 0, row = first_; row < size_.rows; ++i, row += stride_) {
      if (valid(step, row)) last_[i] = step;
    }
  }

  const Size size_;
  const bool* mask_;
  const bool reverse_;
  const int64_t first_, stride_;
  int64_t at_ = -1;
  std::vector<int64_t> last_, rows_, before_, idle_;
};

static inline int64_t panels(const Size& size, int64_t units) {
  return (size.hidden + units - 1) / units;
}

// Calls `use(unit, lanes, offset)` for the vectors of a group of 16 units.
template <class Use>
static inline void each_vector(int64_t hidden, int64_t unit, Use use) {
  for (int64_t offset = 0; offset < kGroup && unit + offset < hidden; offset += LANES) {
    use(unit + offset, hidden - unit - offset, offset);
  }
}

static inline F load_bias(const float* bias, int64_t unit, int64_t lanes) {
  return bias == nullptr ? F{} : load(bias + unit, lanes);
}

// --- Forwards.

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

// The inputs of some steps are projected together, those of rows that count; the steps then find
// them one after the other.
class ForwardLoop {
 public:
  static constexpr bool kProjects = true;

  // `chunk`: steps whose inputs are projected at once. `skipped`: rows of other jobs, whose
  // projected inputs stand before those of this one.
  ForwardLoop(const Size& size, const Forward& net, int64_t chunk, int64_t first, int64_t stride, int64_t skipped)
      : size_(size),
        net_(net),
        packed_(size, net),
        walk_(size, net.mask, net.reverse, first, stride),
        chunk_(chunk),
        capacity_(chunk_ * ((size.rows - first + stride - 1) / stride)),
        projected_(packed_.projected() + chunk_ * skipped * packed_width(size)) {}

  static int phases(int32_t cell) { return cell == kGRUBefore ? 2 : 1; }
  static int64_t count_panels(const Size& s) { return panels(s, s.cell >= kTanh ? 4 * kGroup : kGroup); }
  static int64_t chunk(const Size& size, const Forward& net) { return Packed(size, net).projected_steps(); }
  static void pack(const Size& size, const Forward& net, int64_t panel) { Packed(size, net).pack(panel); }

  // Projects the inputs of the chunk that begins at a visit.
  void project(int64_t visit, int64_t panel) {
    find_inputs(visit);
    const Segment segment{inputs_.data(), size_.inputs};
    const int64_t rows = inputs_.size();
    const auto into = [&](auto vectors, const float* weights, float* out) {
      constexpr int kVectors = decltype(vectors)::value;
      product_into<kVectors>(segment, rows, weights + kVectors * kGroup, Start{weights}, out);
    };
    switch (packed_.vectors()) {
      case 2: into(std::integral_constant<int, 2>(), packed_.input(panel), projected(panel)); break;
      case 3: into(std::integral_constant<int, 3>(), packed_.input(panel), projected(panel)); break;
      default: into(std::integral_constant<int, 4>(), packed_.input(panel), projected(panel));
    }
    if (size_.cell != kGRUBefore || panel % 4) return;
    const int64_t n = panel / 4;
    into(std::integral_constant<int, 4>(), packed_.input_candidate(n), projected_candidate(n));
  }

  void item(int64_t visit, int phase, int64_t panel) {
    if (walk_.at() != visit) go(visit);
    switch (size_.cell) {
      case kLSTM: return lstm(panel);
      case kGRUAfter: return gru_after(panel);
      case kGRUBefore: return phase == 0 ? gru_gates(panel) : gru_candidate(panel);
      default: return elman(panel);
    }
  }

 private:
  // Where the inputs of a chunk stand, and which of them is the first of each visit.
  void find_inputs(int64_t visit) {
    const int64_t begin = visit - visit % chunk_;
    if (begin == begin_) return;
    begin_ = begin;
    inputs_.clear();
    firsts_.clear();
    for (int64_t v = begin; v < begin + chunk_ && v < size_.steps; ++v) {
      firsts_.push_back(inputs_.size());
      walk_.each_valid(v, [&](int64_t step, int64_t row) {
        inputs_.push_back(net_.inputs + at(step, row, size_.inputs));
      });
    }
  }

  void go(int64_t visit) {
    find_inputs(visit);
    walk_.go(visit);
    step_ = walk_.step(visit);
    first_ = firsts_[visit - begin_];
    const int64_t count = walk_.rows().size();
    start_.resize(count);
    start_c_.resize(count);
    passed_.resize(count);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = walk_.rows()[i], before = walk_.before()[i], h = size_.hidden;
      const bool restart = net_.restarts && net_.restarts[step_ * size_.rows + row];
      start_[i] = restart ? net_.fresh.h + row * h
                  : before < 0 ? net_.begin.h + row * h
                               : net_.outputs + at(before, row, h);
      if (has_c(size_.cell)) start_c_[i] = (restart ? net_.fresh.c : net_.final.c) + row * h;
      passed_[i] = passed(row);
    }
  }

  int64_t at(int64_t step, int64_t row, int64_t width) const {
    return (step * size_.rows + row) * width;
  }
  int64_t width() const { return gates(size_.cell) * size_.hidden; }
  // Projected inputs of a panel: of one row of a chunk after the other.
  float* projected(int64_t panel) const { return projected_ + panel * packed_.vectors() * kGroup * capacity_; }
  float* projected_candidate(int64_t panel) const {
    return projected_ + (packed_.main_width() + panel * 4 * kGroup) * capacity_;
  }
  // Those of this step.
  Start begin_with(const float* projected, int vectors) const {
    return {projected + first_ * vectors * kGroup, vectors * kGroup};
  }
  float* columns(int64_t row) const {
    return net_.columns ? net_.columns + at(step_, row, width()) : nullptr;
  }
  float* outputs(int64_t row) const { return net_.outputs + at(step_, row, size_.hidden); }
  float* passed(int64_t row) const {
    if (net_.extra) return net_.extra + at(step_, row, size_.hidden);
    return packed_.passed() + row * size_.hidden;
  }

  void keep_start(int64_t i, int64_t row, int64_t unit, int64_t lanes) const {
    if (!net_.columns) return;
    const int64_t place = at(step_, row, size_.hidden) + unit;
    store(net_.starts.h + place, load(start_[i] + unit, lanes), lanes);
  }

  // Zeros for the rows that do not count here.
  void skip(int64_t unit, int64_t units) const {
    const int64_t count = units < size_.hidden - unit ? units : size_.hidden - unit;
    for (const int64_t row : walk_.idle()) {
      const int64_t place = at(step_, row, size_.hidden) + unit, bytes = count * sizeof(float);
      __builtin_memset(net_.outputs + place, 0, bytes);
      if (!net_.columns) continue;
      for (int g = 0; g < gates(size_.cell); ++g) {
        __builtin_memset(columns(row) + g * size_.hidden + unit, 0, bytes);
      }
      if (net_.extra) __builtin_memset(net_.extra + place, 0, bytes);
      __builtin_memset(net_.starts.h + place, 0, bytes);
      if (net_.starts.c) __builtin_memset(net_.starts.c + place, 0, bytes);
    }
  }

  void lstm(int64_t panel) {
    const int64_t h = size_.hidden, first = panel * kGroup;
    const Segment segment{start_.data(), h};
    const Start begin = begin_with(projected(panel), 4);
    product<4>(&segment, 1, start_.size(), packed_.recurrent(panel), begin, [&](int64_t i, const float* sums) {
      const int64_t row = walk_.rows()[i];
      float *kept = columns(row), *y = outputs(row), *c_now = net_.final.c + row * h;
      each_vector(h, first, [&](int64_t unit, int64_t lanes, int64_t offset) {
        F s[4];
        for (int g = 0; g < 4; ++g) {
          const F sum = load(sums + g * kGroup + offset);
          s[g] = g == 2 ? tanh(sum) : sigmoid(sum);
        }
        const F old = load(start_c_[i] + unit, lanes);
        const F c = s[1] * old + s[0] * s[2];
        store(c_now + unit, c, lanes);
        store(y + unit, s[3] * tanh(c), lanes);
        if (kept) {
          for (int g = 0; g < 4; ++g) store(kept + g * h + unit, s[g], lanes);
          store(net_.starts.c + at(step_, row, h) + unit, old, lanes);
          keep_start(i, row, unit, lanes);
        }
      });
    });
    skip(first, kGroup);
  }

  void gru_after(int64_t panel) {
    const int64_t h = size_.hidden, first = panel * kGroup;
    const Segment segment{start_.data(), h};
    const Start projections = begin_with(projected(panel), 3);
    product<3>(&segment, 1, start_.size(), packed_.recurrent(panel), Start{}, [&](int64_t i, const float* sums) {
      const int64_t row = walk_.rows()[i];
      const float* z = projections.first + i * projections.stride;
      float *kept = columns(row), *y = outputs(row);
      each_vector(h, first, [&](int64_t unit, int64_t lanes, int64_t offset) {
        F s[3], x[3];
        for (int g = 0; g < 3; ++g) {
          s[g] = load(sums + g * kGroup + offset);
          x[g] = load(z + g * kGroup + offset);
        }
        const F reset = sigmoid(s[0] + x[0]), update = sigmoid(s[1] + x[1]);
        const F h_n = s[2] + load_bias(net_.candidate_bias, unit, lanes);
        const F n = tanh(x[2] + reset * h_n);
        store(y + unit, n + update * (load(start_[i] + unit, lanes) - n), lanes);
        if (kept) {
          store(kept + unit, reset, lanes);
          store(kept + h + unit, update, lanes);
          store(kept + 2 * h + unit, n, lanes);
          store(net_.extra + at(step_, row, h) + unit, h_n, lanes);
          keep_start(i, row, unit, lanes);
        }
      });
    });
    skip(first, kGroup);
  }

  // What the candidate of a GRU that resets first must wait for.
  void gru_gates(int64_t panel) {
    const int64_t h = size_.hidden, first = panel * kGroup;
    const Segment segment{start_.data(), h};
    const Start begin = begin_with(projected(panel), 2);
    product<2>(&segment, 1, start_.size(), packed_.recurrent(panel), begin, [&](int64_t i, const float* sums) {
      const int64_t row = walk_.rows()[i];
      float *kept = columns(row), *through = passed(row);
      each_vector(h, first, [&](int64_t unit, int64_t lanes, int64_t offset) {
        F s[2];
        for (int g = 0; g < 2; ++g) s[g] = sigmoid(load(sums + g * kGroup + offset));
        store(through + unit, s[0] * load(start_[i] + unit, lanes), lanes);
        store(updates(row) + unit, s[1], lanes);
        if (kept) {
          store(kept + unit, s[0], lanes);
          keep_start(i, row, unit, lanes);
        }
      });
    });
    skip(first, kGroup);
  }

  float* updates(int64_t row) const {
    if (net_.columns) return columns(row) + size_.hidden;
    return packed_.passed() + (size_.rows + row) * size_.hidden;
  }

  // Panels are those of `gru_gates`, and every fourth brings the units of four.
  void gru_candidate(int64_t panel) {
    if (panel % 4) return;
    const int64_t h = size_.hidden, first = panel * kGroup;
    const Segment segment{passed_.data(), h};
    const Start begin = begin_with(projected_candidate(panel / 4), 4);
    const float* weights = packed_.recurrent_candidate(panel / 4);
    product<4>(&segment, 1, passed_.size(), weights, begin, [&](int64_t i, const float* sums) {
      const int64_t row = walk_.rows()[i];
      float *kept = columns(row), *y = outputs(row);
      for (int64_t group = 0; group < 4; ++group) {
        each_vector(h, first + group * kGroup, [&](int64_t unit, int64_t lanes, int64_t offset) {
          const F n = tanh(load(sums + group * kGroup + offset));
          const F old = load(start_[i] + unit, lanes);
          store(y + unit, n + load(updates(row) + unit, lanes) * (old - n), lanes);
          if (kept) store(kept + 2 * h + unit, n, lanes);
        });
      }
    });
  }

  void elman(int64_t panel) {
    const int64_t h = size_.hidden, first = panel * 4 * kGroup;
    const Segment segment{start_.data(), h};
    const Start begin = begin_with(projected(panel), 4);
    product<4>(&segment, 1, start_.size(), packed_.recurrent(panel), begin, [&](int64_t i, const float* sums) {
      const int64_t row = walk_.rows()[i];
      float *kept = columns(row), *y = outputs(row);
      for (int64_t group = 0; group < 4; ++group) {
        each_vector(h, first + group * kGroup, [&](int64_t unit, int64_t lanes, int64_t offset) {
          const F s = load(sums + group * kGroup + offset);
          store(y + unit, activation(s), lanes);
          if (kept) {
            store(kept + unit, s, lanes);
            keep_start(i, row, unit, lanes);
          }
        });
      }
    });
    skip(first, 4 * kGroup);
  }

  F activation(F s) const { return size_.cell == kTanh ? tanh(s) : s < F{} ? F{} : s; }

  const Size size_;
  const Forward net_;
  const Packed packed_;
  Walk walk_;
  const int64_t chunk_, capacity_;  // steps, and rows of them all, whose inputs are projected at once
  float* const projected_;
  int64_t step_ = 0, begin_ = -1, first_ = 0;
  std::vector<int64_t> firsts_;
  std::vector<const float*> inputs_, start_, start_c_, passed_;
};

// --- Backwards.

// A row's cotangent is completed when the row is next met: the product of its last deltas is part
// of that step, so that one wait a step is enough.
class BackwardLoop {
 public:
  static constexpr bool kProjects = false;

  BackwardLoop(const Size& size, const Backward& net, int64_t, int64_t first, int64_t stride, int64_t)
      : size_(size), net_(net), walk_(size, net.mask, !net.reverse, first, stride) {}

  static int phases(int32_t cell) { return cell == kGRUBefore ? 2 : 1; }
  static int64_t count_panels(const Size& s) { return panels(s, 4 * kGroup); }
  static int64_t chunk(const Size& size, const Backward&) { return size.steps + 1; }

  // Turned recurrent weights; those of the candidate of a GRU that resets before are for themselves.
  static void pack(const Size& size, const Backward& net, int64_t panel) {
    const int64_t h = size.hidden, width = gates(size.cell) * h, depth = main_depth(size);
    pack_turned({net.w_hh, depth, width, 0}, h, panel, main_weights(size, net, panel));
    if (depth == width) return;
    pack_turned({net.w_hh, h, width, depth}, h, panel, candidate_weights(size, net, panel));
  }

  void project(int64_t, int64_t) {}

  void item(int64_t visit, int phase, int64_t panel) {
    if (walk_.at() != visit) go(visit);
    if (phase == 1) {
      if (visit < size_.steps) reset_gate(panel);
    } else if (visit == size_.steps) {
      finish(panel);
    } else {
      deltas(panel);
    }
  }

 private:
  static int64_t main_depth(const Size& s) { return (s.cell == kGRUBefore ? 2 : gates(s.cell)) * s.hidden; }
  static float* main_weights(const Size& size, const Backward& net, int64_t panel) {
    return net.scratch + panel * 4 * kGroup * main_depth(size);
  }
  static float* candidate_weights(const Size& size, const Backward& net, int64_t panel) {
    return main_weights(size, net, count_panels(size)) + panel * 4 * kGroup * size.hidden;
  }

  void go(int64_t visit) {
    walk_.go(visit);
    step_ = visit < size_.steps ? walk_.step(visit) : 0;
    const int64_t count = walk_.rows().size();
    pending_.assign(count, nullptr);
    pending_extra_.assign(count, nullptr);
    candidate_.assign(count, nullptr);
    restarted_.assign(count, 0);
    // Rows that have deltas come first: the others have no product.
    order_.clear();
    for (int64_t i = 0; i < count; ++i) {
      if (walk_.before()[i] >= 0) order_.push_back(i);
    }
    products_ = order_.size();
    for (int64_t i = 0; i < count; ++i) {
      if (walk_.before()[i] < 0) order_.push_back(i);
    }
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = walk_.rows()[order_[i]], before = walk_.before()[order_[i]];
      if (before >= 0) {
        pending_[i] = net_.deltas + at(before, row, width());
        if (size_.cell == kGRUAfter) pending_extra_[i] = net_.extra_deltas + at(before, row, size_.hidden);
        restarted_[i] = net_.restarts && net_.restarts[before * size_.rows + row];
      }
      if (visit < size_.steps) candidate_[i] = net_.deltas + at(step_, row, width()) + 2 * size_.hidden;
    }
  }

  int64_t row_of(int64_t i) const { return walk_.rows()[order_[i]]; }
  int64_t at(int64_t step, int64_t row, int64_t width) const {
    return (step * size_.rows + row) * width;
  }
  int64_t width() const { return gates(size_.cell) * size_.hidden; }

  // Calls `use(i, sums)` for every row; `sums` is null where there is no product.
  template <class Use>
  void with_product(int64_t panel, Use use) const {
    const int64_t h = size_.hidden;
    const bool gru_after = size_.cell == kGRUAfter;
    const int64_t length = size_.cell == kLSTM ? 4 * h : size_.cell >= kTanh ? h : 2 * h;
    const Segment segments[2] = {{pending_.data(), length}, {pending_extra_.data(), h}};
    const float* weights = main_weights(size_, net_, panel);
    product<4>(segments, gru_after ? 2 : 1, products_, weights, Start{}, use);
    for (int64_t i = products_; i < (int64_t)order_.size(); ++i) use(i, nullptr);
  }

  // For all vectors of the panel: `use(unit, lanes, offset in the product)`.
  template <class Use>
  void vectors(int64_t panel, Use use) const {
    for (int64_t group = 0; group < 4; ++group) {
      each_vector(size_.hidden, (panel * 4 + group) * kGroup, [&](int64_t unit, int64_t lanes, int64_t offset) {
        use(unit, lanes, group * kGroup + offset);
      });
    }
  }

  // What reaches the carry that a row had after this step, from all later ones.
  F total(int64_t i, const float* sums, int64_t unit, int64_t lanes, int64_t offset) const {
    float* rest = net_.dbegin.h + row_of(i) * size_.hidden + unit;
    if (sums == nullptr) return load(rest, lanes);
    F dh = load(sums + offset);
    if (has_extra(size_.cell)) dh += load(rest, lanes);
    if (!restarted_[i]) return dh;
    float* fresh = net_.dfresh.h + row_of(i) * size_.hidden + unit;
    store(fresh, load(fresh, lanes) + dh, lanes);
    return F{};
  }

  F total_c(int64_t i, int64_t unit, int64_t lanes) const {
    const F dc = load(net_.dbegin.c + row_of(i) * size_.hidden + unit, lanes);
    if (!restarted_[i]) return dc;
    float* fresh = net_.dfresh.c + row_of(i) * size_.hidden + unit;
    store(fresh, load(fresh, lanes) + dc, lanes);
    return F{};
  }

  void finish(int64_t panel) {
    with_product(panel, [&](int64_t i, const float* sums) {
      vectors(panel, [&](int64_t unit, int64_t lanes, int64_t offset) {
        const int64_t place = row_of(i) * size_.hidden + unit;
        store(net_.dbegin.h + place, total(i, sums, unit, lanes, offset), lanes);
        if (has_c(size_.cell)) store(net_.dbegin.c + place, total_c(i, unit, lanes), lanes);
      });
    });
  }

  void deltas(int64_t panel) {
    const int64_t h = size_.hidden;
    with_product(panel, [&](int64_t i, const float* sums) {
      const int64_t row = row_of(i);
      vectors(panel, [&](int64_t unit, int64_t lanes, int64_t offset) {
        const F dh = total(i, sums, unit, lanes, offset) +
                     load(net_.doutputs + at(step_, row, h) + unit, lanes);
        switch (size_.cell) {
          case kLSTM: return lstm(i, row, unit, lanes, dh);
          case kGRUAfter:
          case kGRUBefore: return gru(row, unit, lanes, dh);
          default: return elman(row, unit, lanes, dh);
        }
      });
    });
    skip(panel * 4 * kGroup, 4 * kGroup);
  }

  void lstm(int64_t index, int64_t row, int64_t unit, int64_t lanes, F dh) const {
    const int64_t h = size_.hidden, place = at(step_, row, h) + unit;
    const float* kept = net_.columns + at(step_, row, 4 * h) + unit;
    float* out = net_.deltas + at(step_, row, 4 * h) + unit;
    const F i = load(kept, lanes), f = load(kept + h, lanes), g = load(kept + 2 * h, lanes),
            o = load(kept + 3 * h, lanes), old = load(net_.starts.c + place, lanes);
    const F tanh_c = tanh(f * old + i * g);
    const F dc = total_c(index, unit, lanes) + dh * o * (1.0f - tanh_c * tanh_c);
    store(out, dc * g * i * (1.0f - i), lanes);
    store(out + h, dc * old * f * (1.0f - f), lanes);
    store(out + 2 * h, dc * i * (1.0f - g * g), lanes);
    store(out + 3 * h, dh * tanh_c * o * (1.0f - o), lanes);
    store(net_.dbegin.c + row * h + unit, dc * f, lanes);
  }

  void gru(int64_t row, int64_t unit, int64_t lanes, F dh) const {
    const int64_t h = size_.hidden, place = at(step_, row, h) + unit;
    const float* kept = net_.columns + at(step_, row, 3 * h) + unit;
    float* out = net_.deltas + at(step_, row, 3 * h) + unit;
    const F r = load(kept, lanes), z = load(kept + h, lanes), n = load(kept + 2 * h, lanes),
            old = load(net_.starts.h + place, lanes);
    const F dn = dh * (1.0f - z) * (1.0f - n * n);
    if (size_.cell == kGRUAfter) {
      const F product = load(net_.extra + place, lanes);
      store(out, dn * product * r * (1.0f - r), lanes);
      store(net_.extra_deltas + place, dn * r, lanes);
    }
    store(out + h, dh * (old - n) * z * (1.0f - z), lanes);
    store(out + 2 * h, dn, lanes);
    store(net_.dbegin.h + row * h + unit, dh * z, lanes);
  }

  // The second half of a GRU that resets first: what reaches it through the candidate.
  void reset_gate(int64_t panel) {
    const int64_t h = size_.hidden;
    const Segment segment{candidate_.data(), h};
    const float* weights = candidate_weights(size_, net_, panel);
    product<4>(&segment, 1, order_.size(), weights, Start{}, [&](int64_t i, const float* sums) {
      const int64_t row = row_of(i);
      vectors(panel, [&](int64_t unit, int64_t lanes, int64_t offset) {
        const int64_t place = at(step_, row, h) + unit;
        // Of the columns only r is still there where deltas stand in their place.
        const F r = load(net_.columns + at(step_, row, 3 * h) + unit, lanes);
        const F dpassed = load(sums + offset), old = load(net_.starts.h + place, lanes);
        float* rest = net_.dbegin.h + row * h + unit;
        store(net_.deltas + at(step_, row, 3 * h) + unit, dpassed * old * r * (1.0f - r), lanes);
        store(rest, load(rest, lanes) + dpassed * r, lanes);
      });
    });
  }

  void elman(int64_t row, int64_t unit, int64_t lanes, F dh) const {
    const int64_t place = at(step_, row, size_.hidden) + unit;
    const F s = load(net_.columns + place, lanes);
    if (size_.cell == kTanh) {
      const F y = tanh(s);
      store(net_.deltas + place, dh * (1.0f - y * y), lanes);
    } else {
      store(net_.deltas + place, s > F{} ? dh : F{}, lanes);
    }
  }

  void skip(int64_t unit, int64_t units) const {
    const int64_t h = size_.hidden, count = units < h - unit ? units : h - unit;
    for (const int64_t row : walk_.idle()) {
      for (int g = 0; g < gates(size_.cell); ++g) {
        __builtin_memset(net_.deltas + at(step_, row, width()) + g * h + unit, 0, count * sizeof(float));
      }
      if (size_.cell == kGRUAfter) {
        __builtin_memset(net_.extra_deltas + at(step_, row, h) + unit, 0, count * sizeof(float));
      }
    }
  }

  const Size size_;
  const Backward net_;
  Walk walk_;
  int64_t step_ = 0, products_ = 0;
  std::vector<int64_t> order_;
  std::vector<const float*> pending_, pending_extra_, candidate_;
  std::vector<char> restarted_;
};
