// The loop over time, backwards. Included once for each instruction set.

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

  void run(int64_t visit, int phase, Panels panels) {
    if (walk_.at() != visit) go(visit);
    for (int64_t panel = panels.first; panel < panels.first + panels.count; ++panel) {
      if (phase == 1) {
        if (visit < size_.steps) reset_gate(panel);
      } else if (visit == size_.steps) {
        finish(panel);
      } else {
        deltas(panel);
      }
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
    start_.assign(count, nullptr);
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
      if (visit == size_.steps || !has_extra(size_.cell)) continue;
      candidate_[i] = net_.deltas + at(step_, row, width()) + 2 * size_.hidden;
      start_[i] = net_.starts.h(size_, step_, row);
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
    const int64_t length = main_depth(size_) - (gru_after ? h : 0);
    const Segment segments[2] = {{pending_.data(), length}, {pending_extra_.data(), h}};
    const Weights weights{main_weights(size_, net_, panel), 4 * kGroup, kGroup};
    products<4>(Panels{panel, 1}, false, segments, gru_after ? 2 : 1, products_,
                [&](int64_t) { return Factors{weights, Start{}}; },
                [&](int64_t, int64_t i, const float* sums) { use(i, sums); });
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
    with_product(panel, [&](int64_t i, const float* sums) {
      const int64_t row = row_of(i);
      vectors(panel, [&](int64_t unit, int64_t lanes, int64_t offset) {
        const F dh = total(i, sums, unit, lanes, offset) +
                     load(net_.doutputs + at(step_, row, net_.doutputs_width) + unit, lanes);
        switch (size_.cell) {
          case kLSTM: return lstm(i, row, unit, lanes, dh);
          case kGRUAfter:
          case kGRUBefore: return gru(i, row, unit, lanes, dh);
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
            o = load(kept + 3 * h, lanes), old = load(net_.start_c + place, lanes);
    const F tanh_c = tanh(f * old + i * g);
    const F dc = total_c(index, unit, lanes) + dh * o * (1.0f - tanh_c * tanh_c);
    store(out, dc * g * i * (1.0f - i), lanes);
    store(out + h, dc * old * f * (1.0f - f), lanes);
    store(out + 2 * h, dc * i * (1.0f - g * g), lanes);
    store(out + 3 * h, dh * tanh_c * o * (1.0f - o), lanes);
    store(net_.dbegin.c + row * h + unit, dc * f, lanes);
  }

  void gru(int64_t i, int64_t row, int64_t unit, int64_t lanes, F dh) const {
    const int64_t h = size_.hidden, place = at(step_, row, h) + unit;
    const float* kept = net_.columns + at(step_, row, 3 * h) + unit;
    float* out = net_.deltas + at(step_, row, 3 * h) + unit;
    const F r = load(kept, lanes), z = load(kept + h, lanes), n = load(kept + 2 * h, lanes),
            old = load(start_[i] + unit, lanes);
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
    const Weights weights{candidate_weights(size_, net_, panel), 4 * kGroup, kGroup};
    const auto of = [&](int64_t) { return Factors{weights, Start{}}; };
    products<4>(Panels{panel, 1}, false, &segment, 1, order_.size(), of, [&](int64_t, int64_t i, const float* sums) {
      const int64_t row = row_of(i);
      vectors(panel, [&](int64_t unit, int64_t lanes, int64_t offset) {
        // Of the columns only r is still there where deltas stand in their place.
        const F r = load(net_.columns + at(step_, row, 3 * h) + unit, lanes);
        const F dpassed = load(sums + offset), old = load(start_[i] + unit, lanes);
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
  std::vector<const float*> pending_, pending_extra_, candidate_, start_;
  std::vector<char> restarted_;
};
