// How loops go through time. Included once for each instruction set.
//
// A row that does not count at a step is left out of the step's product: it costs nothing but the
// zeros that are written. The rows of an operand are found through pointers, so nothing is moved.

// How many rows there are from `first` on, in strides.
static inline int64_t rows_from(const Size& size, int64_t first, int64_t stride) {
  return (size.rows - first + stride - 1) / stride;
}

// The rows `first, first + stride, ...` on their way through time.
class Walk {
 public:
  Walk(const Size& size, const bool* mask, bool reverse, int64_t first, int64_t stride)
      : size_(size), mask_(mask), reverse_(reverse), first_(first), stride_(stride) {
    const int64_t count = rows_from(size, first, stride);
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
