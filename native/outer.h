// Gradients of weights: products over all steps and rows that count. Included once for each
// instruction set.

// product[m][n] = sum of left[k][m] * right[k][n] over k, where a row of `left` may stand anywhere;
// and, if wanted, the sums of the columns of `right`, of which `right_columns` are taken from
// `right_first` on.
struct Outer {
  const float* const* left;
  int64_t left_columns;
  const float* right;
  int64_t right_width, right_first, right_columns;
  const bool* mask;  // of k; null: all count
  float* product;
  int64_t product_width;
  float* sums;
};

// Terms whose columns are packed together: so many that what they read of `left` stays in a cache.
constexpr int64_t kTerms = 256, kLeastTerms = 64, kLeft = 64 * 1024;

// Adds some terms to ROWS rows of a panel of 64 columns.
template <int ROWS>
[[gnu::noinline]] static void outer_tile(const float* const* left, int64_t column, const float* right,
                                         int64_t terms, float* out) {
  constexpr int kVectors = 4, kStride = kVectors * kGroup;
  for (int lane = 0; lane < kGroup; lane += LANES) {
    F sum[ROWS][kVectors] = {};
    const float* weights = right + lane;
    for (int64_t k = 0; k < terms; ++k, weights += kStride) {
      const float* a = left[k] + column;
      F w[kVectors];
#pragma GCC unroll 8  // sums must be registers, whatever is asked of the compiler
      for (int j = 0; j < kVectors; ++j) w[j] = load(weights + j * kGroup);
#pragma GCC unroll 16
      for (int r = 0; r < ROWS; ++r) {
        const F x = splat(a[r]);
#pragma GCC unroll 8
        for (int j = 0; j < kVectors; ++j) sum[r][j] += x * w[j];
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) {
        float* place = out + r * kStride + j * kGroup + lane;
        store(place, load(place) + sum[r][j]);
      }
    }
  }
}

template <int ROWS>
static inline void outer_rows(int64_t rows, const float* const* left, int64_t column, const float* right,
                              int64_t terms, float* out) {
  if constexpr (ROWS > 0) {
    if (rows == ROWS) return outer_tile<ROWS>(left, column, right, terms, out);
    outer_rows<ROWS - 1>(rows, left, column, right, terms, out);
  }
}

// What a thread works in: a panel of the product, packed columns, and where rows begin.
class OuterPanel {
 public:
  explicit OuterPanel(int64_t most_columns)
      : sums_(new float[most_columns * kWidth]), right_(new float[kTerms * kWidth]), left_(kTerms) {}

  void run(const Outer& outer, int64_t count, int64_t panel) {
    const int64_t first = panel * kWidth;
    most_ = std::clamp(kLeft / std::max<int64_t>(1, outer.left_columns), kLeastTerms, kTerms);
    columns_ = std::min(outer.right_columns - first, kWidth);
    __builtin_memset(sums_.get(), 0, outer.left_columns * kWidth * sizeof(float));
    float totals[kWidth] = {};
    for (int64_t k = 0; k < count;) {
      const int64_t terms = take(outer, count, first, &k);
      if (outer.sums) add(terms, totals);
      for (int64_t column = 0; column < outer.left_columns; column += kRows) {
        const int64_t rows = std::min<int64_t>(outer.left_columns - column, kRows);
        outer_rows<kRows>(rows, left_.data(), column, right_.get(), terms, sums_.get() + column * kWidth);
      }
    }
    for (int64_t m = 0; m < outer.left_columns; ++m) {
      float* row = outer.product + m * outer.product_width + first;
      __builtin_memcpy(row, sums_.get() + m * kWidth, columns_ * sizeof(float));
    }
    if (outer.sums) __builtin_memcpy(outer.sums + first, totals, columns_ * sizeof(float));
  }

 private:
  static constexpr int64_t kWidth = 4 * kGroup;
  static constexpr int kRows = tile_rows<4>();

  // Packs the next terms that count.
  int64_t take(const Outer& outer, int64_t count, int64_t first, int64_t* k) {
    int64_t terms = 0;
    for (; *k < count && terms < most_; ++*k) {
      if (outer.mask && !outer.mask[*k]) continue;
      float* to = right_.get() + terms * kWidth;
      if (columns_ < kWidth) __builtin_memset(to, 0, kWidth * sizeof(float));
      const float* from = outer.right + *k * outer.right_width + outer.right_first + first;
      __builtin_memcpy(to, from, columns_ * sizeof(float));
      left_[terms] = outer.left[*k];
      fetch(left_[terms++], outer.left_columns);
    }
    return terms;
  }

  // Tiles go down the columns of `left`, which no processor foresees.
  static void fetch(const float* row, int64_t columns) {
    for (int64_t i = 0; i < columns; i += kGroup) __builtin_prefetch(row + i, 0, 2);
  }

  void add(int64_t terms, float* totals) const {
    for (int64_t n = 0; n < kWidth; n += LANES) {
      F sum = {};
      for (int64_t k = 0; k < terms; ++k) sum += load(right_.get() + k * kWidth + n);
      store(totals + n, load(totals + n) + sum);
    }
  }

  std::unique_ptr<float[]> sums_, right_;
  std::vector<const float*> left_;
  int64_t columns_ = 0, most_ = kTerms;
};

// An item is a panel of one of the products.
class OuterJobs final : public Work {
 public:
  OuterJobs(const std::vector<Outer>& outers, int64_t count, int threads) : outers_(outers), count_(count) {
    int64_t most = 0;
    for (size_t i = 0; i < outers.size(); ++i) {
      most = std::max(most, outers[i].left_columns);
      for (int64_t p = 0; p < padded(outers[i].right_columns, 64) / 64; ++p) places_.push_back({i, p});
    }
    for (int thread = 0; thread < threads; ++thread) panels_.emplace_back(most);
  }

  int64_t items() const { return places_.size(); }

  void run(int64_t, int64_t item, int thread) override {
    panels_[thread].run(outers_[places_[item].outer], count_, places_[item].panel);
  }

 private:
  struct Place {
    size_t outer;
    int64_t panel;
  };

  const std::vector<Outer>& outers_;
  const int64_t count_;
  std::vector<Place> places_;
  std::vector<OuterPanel> panels_;  // of each thread
};

// Where the rows of the operands of one network's products begin.
struct Operands {
  Operands(const Size& s, const Gradients& net) {
    for (auto* rows : {&inputs, &starts}) rows->reserve(s.steps * s.rows);
    for (int64_t step = 0, place = 0; step < s.steps; ++step) {
      for (int64_t row = 0; row < s.rows; ++row, ++place) {
        inputs.push_back(net.inputs + place * s.inputs);
        starts.push_back(net.starts.h(s, step, row));
        if (s.cell == kGRUBefore) extra.push_back(net.extra + place * s.hidden);
      }
    }
  }
  std::vector<const float*> inputs, starts, extra;
};

// The products of one network; a GRU's candidate has an operand of its own.
static void list_outers(const Size& s, const Gradients& net, const Operands& of, std::vector<Outer>* list) {
  const int64_t d = s.inputs, h = s.hidden, width = gates(s.cell) * h;
  const int64_t main = has_extra(s.cell) ? 2 * h : width;
  const bool* mask = net.mask;
  float* dw_n = net.dw_hh + main;
  list->push_back({of.inputs.data(), d, net.deltas, width, 0, width, mask, net.dw_ih, width, net.dbias});
  list->push_back({of.starts.data(), h, net.deltas, width, 0, main, mask, net.dw_hh, width, nullptr});
  if (s.cell == kGRUAfter) {
    list->push_back({of.starts.data(), h, net.extra, h, 0, h, mask, dw_n, width, net.dcandidate_bias});
  } else if (s.cell == kGRUBefore) {
    list->push_back({of.extra.data(), h, net.deltas, width, main, h, mask, dw_n, width, nullptr});
  }
}

static void gradients(const Size& size, const std::vector<Gradients>& nets, Pool& pool) {
  std::vector<Operands> operands;
  std::vector<Outer> outers;
  for (const Gradients& net : nets) operands.emplace_back(size, net);
  for (size_t n = 0; n < nets.size(); ++n) list_outers(size, nets[n], operands[n], &outers);
  const int64_t count = size.steps * size.rows;
  const int64_t work = nets.size() * count * (size.inputs + size.hidden) * size.hidden * gates(size.cell);
  const int threads = work < kSmallProducts || pool.threads() < 2 ? 1 : pool.threads();
  OuterJobs jobs(outers, count, threads);
  Team::run(jobs, 1, jobs.items(), threads, pool);
}
