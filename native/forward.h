// The loop over time, forwards. Included once for each instruction set.

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
        capacity_(chunk_ * rows_from(size, first, stride)),
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
    const auto into = [&](auto vectors, Weights weights, const float* bias, float* out) {
      product_into<decltype(vectors)::value>(segment, rows, weights, Start{bias}, out);
    };
    const float* const passing = pack_passing(panel);
    const Weights weights = packed_.input(panel, passing);
    switch (packed_.vectors()) {
      case 2: into(std::integral_constant<int, 2>(), weights, packed_.bias(panel), projected(panel)); break;
      case 3: into(std::integral_constant<int, 3>(), weights, packed_.bias(panel), projected(panel)); break;
      default: into(std::integral_constant<int, 4>(), weights, packed_.bias(panel), projected(panel));
    }
    if (size_.cell != kGRUBefore || panel % 4) return;
    const int64_t n = panel / 4;
    into(std::integral_constant<int, 4>(), packed_.input_candidate(n, passing), packed_.bias_candidate(n),
         projected_candidate(n));
  }

  void run(int64_t visit, int phase, Panels panels) {
    if (walk_.at() != visit) go(visit);
    switch (size_.cell) {
      case kLSTM: return lstm(panels);
      case kGRUAfter: return gru_after(panels);
      case kGRUBefore: return phase == 0 ? gru_gates(panels) : gru_candidate(panels);
      default: return elman(panels);
    }
  }

 private:
  struct alignas(64) Line {
    float values[16];
  };

  const float* pack_passing(int64_t panel) {
    passing_.resize((packed_.passing_numbers() + 15) / 16);
    if (passing_.empty()) return nullptr;
    packed_.pack_passing(panel, passing_[0].values);
    return passing_[0].values;
  }

  // Where the inputs of a chunk stand, and which of them is the first of each visit.
  void find_inputs(int64_t visit) {
    if (begin_ >= 0 && visit >= begin_ && visit < begin_ + chunk_) return;
    begin_ = visit - visit % chunk_;
    inputs_.clear();
    firsts_.clear();
    for (int64_t v = begin_; v < begin_ + chunk_ && v < size_.steps; ++v) {
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
    origins_.resize(count);
    passed_.resize(count);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = walk_.rows()[i], before = walk_.before()[i], h = size_.hidden;
      const bool restart = net_.restarts && net_.restarts[step_ * size_.rows + row];
      start_[i] = restart ? net_.fresh.h + row * h
                  : before < 0 ? net_.begin.h + row * h
                               : net_.outputs + at(before, row, net_.outputs_width);
      origins_[i] = restart ? kRestarted : before < 0 ? kBegun : static_cast<int32_t>(before);
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
  float* outputs(int64_t row) const { return net_.outputs + at(step_, row, net_.outputs_width); }
  float* passed(int64_t row) const {
    if (net_.extra) return net_.extra + at(step_, row, size_.hidden);
    return packed_.passed() + row * size_.hidden;
  }

  // The products of a step; its operand are rows as long as the carry.
  template <int VECTORS, class Of, class Use>
  void products_of(const std::vector<const float*>& rows, Panels panels, Of of, Use use) const {
    const Segment segment{rows.data(), size_.hidden};
    products<VECTORS>(panels, walk_.at() % 2, &segment, 1, rows.size(), of, use);
  }

  // Zeros for the rows that do not count here; and, once a step, where the others began.
  void skip(int64_t unit, int64_t units) const {
    if (unit == 0 && net_.columns) keep_origins();
    const int64_t count = units < size_.hidden - unit ? units : size_.hidden - unit;
    for (const int64_t row : walk_.idle()) {
      const int64_t place = at(step_, row, size_.hidden) + unit, bytes = count * sizeof(float);
      __builtin_memset(outputs(row) + unit, 0, bytes);
      if (!net_.columns) continue;
      for (int g = 0; g < gates(size_.cell); ++g) {
        __builtin_memset(columns(row) + g * size_.hidden + unit, 0, bytes);
      }
      if (net_.extra) __builtin_memset(net_.extra + place, 0, bytes);
      if (net_.start_c) __builtin_memset(net_.start_c + place, 0, bytes);
    }
  }

  void keep_origins() const {
    int32_t* origins = net_.origins + step_ * size_.rows;
    for (const int64_t row : walk_.idle()) origins[row] = kBegun;
    for (size_t i = 0; i < origins_.size(); ++i) origins[walk_.rows()[i]] = origins_[i];
  }

  void lstm(Panels panels) {
    const int64_t h = size_.hidden;
    const auto of = [&](int64_t panel) {
      return Factors{packed_.recurrent(panel), begin_with(projected(panel), 4)};
    };
    products_of<4>(start_, panels, of, [&](int64_t panel, int64_t i, const float* sums) {
      const int64_t row = walk_.rows()[i];
      float *kept = columns(row), *y = outputs(row), *c_now = net_.final.c + row * h;
      each_vector(h, panel * kGroup, [&](int64_t unit, int64_t lanes, int64_t offset) {
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
          store(net_.start_c + at(step_, row, h) + unit, old, lanes);
        }
      });
    });
    skip(panels.first * kGroup, panels.count * kGroup);
  }

  void gru_after(Panels panels) {
    const int64_t h = size_.hidden;
    const auto of = [&](int64_t panel) { return Factors{packed_.recurrent(panel), Start{}}; };
    products_of<3>(start_, panels, of, [&](int64_t panel, int64_t i, const float* sums) {
      const int64_t row = walk_.rows()[i];
      const Start projections = begin_with(projected(panel), 3);
      const float* z = projections.first + i * projections.stride;
      float *kept = columns(row), *y = outputs(row);
      each_vector(h, panel * kGroup, [&](int64_t unit, int64_t lanes, int64_t offset) {
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
        }
      });
    });
    skip(panels.first * kGroup, panels.count * kGroup);
  }

  // What the candidate of a GRU that resets first must wait for.
  void gru_gates(Panels panels) {
    const int64_t h = size_.hidden;
    const auto of = [&](int64_t panel) {
      return Factors{packed_.recurrent(panel), begin_with(projected(panel), 2)};
    };
    products_of<2>(start_, panels, of, [&](int64_t panel, int64_t i, const float* sums) {
      const int64_t row = walk_.rows()[i];
      float *kept = columns(row), *through = passed(row);
      each_vector(h, panel * kGroup, [&](int64_t unit, int64_t lanes, int64_t offset) {
        F s[2];
        for (int g = 0; g < 2; ++g) s[g] = sigmoid(load(sums + g * kGroup + offset));
        store(through + unit, s[0] * load(start_[i] + unit, lanes), lanes);
        store(updates(row) + unit, s[1], lanes);
        if (kept) store(kept + unit, s[0], lanes);
      });
    });
    skip(panels.first * kGroup, panels.count * kGroup);
  }

  float* updates(int64_t row) const {
    if (net_.columns) return columns(row) + size_.hidden;
    return packed_.passed() + (size_.rows + row) * size_.hidden;
  }

  // Panels are those of `gru_gates`, and every fourth brings the units of four.
  void gru_candidate(Panels panels) {
    const int64_t h = size_.hidden, begin = (panels.first + 3) / 4, end = (panels.first + panels.count + 3) / 4;
    const auto of = [&](int64_t panel) {
      return Factors{packed_.recurrent_candidate(panel), begin_with(projected_candidate(panel), 4)};
    };
    const Panels wide{begin, end - begin};
    products_of<4>(passed_, wide, of, [&](int64_t panel, int64_t i, const float* sums) {
      const int64_t row = walk_.rows()[i];
      float *kept = columns(row), *y = outputs(row);
      for (int64_t group = 0; group < 4; ++group) {
        each_vector(h, (panel * 4 + group) * kGroup, [&](int64_t unit, int64_t lanes, int64_t offset) {
          const F n = tanh(load(sums + group * kGroup + offset));
          const F old = load(start_[i] + unit, lanes);
          store(y + unit, n + load(updates(row) + unit, lanes) * (old - n), lanes);
          if (kept) store(kept + 2 * h + unit, n, lanes);
        });
      }
    });
  }

  void elman(Panels panels) {
    const int64_t h = size_.hidden;
    const auto of = [&](int64_t panel) {
      return Factors{packed_.recurrent(panel), begin_with(projected(panel), 4)};
    };
    products_of<4>(start_, panels, of, [&](int64_t panel, int64_t i, const float* sums) {
      const int64_t row = walk_.rows()[i];
      float *kept = columns(row), *y = outputs(row);
      for (int64_t group = 0; group < 4; ++group) {
        each_vector(h, (panel * 4 + group) * kGroup, [&](int64_t unit, int64_t lanes, int64_t offset) {
          const F s = load(sums + group * kGroup + offset);
          store(y + unit, activation(s), lanes);
          if (kept) store(kept + unit, s, lanes);
        });
      }
    });
    skip(panels.first * 4 * kGroup, panels.count * 4 * kGroup);
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
  std::vector<int32_t> origins_;
  std::vector<const float*> inputs_, start_, start_c_, passed_;
  std::vector<Line> passing_;  // a panel's weights of inputs
};
