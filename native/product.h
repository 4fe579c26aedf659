// The product of some rows with panels of weights, packed or where they stand. Included once for
// each instruction set.
//
// A panel holds, for each k, VECTORS groups of 16 columns: the gates of 16 units, or 16 * VECTORS
// units of one gate.

constexpr int kGroup = 16;  // columns that stand together, for every instruction set

// A part of the contraction: where each row of its operand begins, and how long it is.
struct Segment {
  const float* const* rows;
  int64_t length;
};

// What sums begin with: row i of it stands at `first + i * stride`; null is zero.
struct Start {
  const float* first = nullptr;
  int64_t stride = 0;
};

// The weights of a panel: rows, and groups of columns, at these distances. In two registers.
struct Weights {
  const float* first;
  int32_t row, group;
};

template <int VECTORS>
static inline bool packed(Weights w) {
  return w.row == VECTORS * kGroup && w.group == kGroup;
}

constexpr int64_t kBlock = 128;  // terms that are summed for themselves: rounding grows with a sum

// Some terms of ROWS rows. Sums begin with those of `start`, or with zero; `add` adds them to what
// stands in `out`. A function for itself, so that its registers are its own. Of packed weights it
// knows the distances, and needs no registers for them.
template <int ROWS, int VECTORS, bool PACKED>
[[gnu::noinline]] static void tile(const float* const* rows, int64_t begin, int64_t terms, Weights panel,
                                   Start start, bool add, float* out) {
  constexpr int kStride = VECTORS * kGroup;
  const int64_t row = PACKED ? kStride : panel.row, group = PACKED ? kGroup : panel.group;
  for (int lane = 0; lane < kGroup; lane += LANES) {
    F sum[ROWS][VECTORS] = {};
    if (start.first && !add) {
#pragma GCC unroll 16
      for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 8
        for (int j = 0; j < VECTORS; ++j) sum[r][j] = load(start.first + r * start.stride + j * kGroup + lane);
      }
    }
    const float* weights = panel.first + lane;
    const float* a[ROWS];
    for (int r = 0; r < ROWS; ++r) a[r] = rows[r] + begin;
    for (int64_t k = 0; k < terms; ++k, weights += row) {
      F w[VECTORS];
#pragma GCC unroll 8  // sums must be registers, whatever is asked of the compiler
      for (int j = 0; j < VECTORS; ++j) w[j] = load(weights + j * group);
#pragma GCC unroll 16
      for (int r = 0; r < ROWS; ++r) {
        const F x = splat(a[r][k]);
#pragma GCC unroll 8
        for (int j = 0; j < VECTORS; ++j) sum[r][j] += x * w[j];
      }
    }
    if (add) {
#pragma GCC unroll 16
      for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 8
        for (int j = 0; j < VECTORS; ++j) sum[r][j] += load(out + r * kStride + j * kGroup + lane);
      }
    }
    for (int r = 0; r < ROWS; ++r) {
      for (int j = 0; j < VECTORS; ++j) store(out + r * kStride + j * kGroup + lane, sum[r][j]);
    }
  }
}

// As many rows as the registers hold, beside a row of weights.
template <int VECTORS>
constexpr int tile_rows() {
#if defined(__aarch64__)
  constexpr bool kMany = true;  // 32 of them, as AVX-512 has
#else
  constexpr bool kMany = LANES == 16;
#endif
  return (kMany ? 24 : 12) / VECTORS;
}

// All terms of some rows, block by block.
template <int ROWS, int VECTORS>
static inline void blocks(const Segment* segments, int count, int64_t first, Weights panel, Start start,
                          float* out) {
  if (start.first) start.first += first * start.stride;
  bool add = false;
  for (int s = 0; s < count; ++s) {
    const int64_t length = segments[s].length;
    for (int64_t k = 0; k < length || !add; k += kBlock) {  // without any term: what sums begin with
      const int64_t terms = length - k < kBlock ? length - k : kBlock;
      const float* const* rows = segments[s].rows + first;
      if (packed<VECTORS>(panel)) {
        tile<ROWS, VECTORS, true>(rows, k, terms, panel, start, add, out);
      } else {
        tile<ROWS, VECTORS, false>(rows, k, terms, panel, start, add, out);
      }
      panel.first += terms * panel.row;
      add = true;
    }
  }
}

template <int ROWS, int VECTORS>
static inline void some_rows(int64_t rows, const Segment* segments, int count, int64_t first,
                             Weights panel, Start start, float* out) {
  if constexpr (ROWS > 0) {
    if (rows == ROWS) return blocks<ROWS, VECTORS>(segments, count, first, panel, start, out);
    some_rows<ROWS - 1, VECTORS>(rows, segments, count, first, panel, start, out);
  }
}

// Neighbouring panels.
struct Panels {
  int64_t first, count;
};

// What a panel multiplies rows with, and begins with.
struct Factors {
  Weights weights;
  Start start;
};

constexpr int64_t kTogether = 4;  // panels

// Where a tile of some rows begins: all tiles are about as large.
template <int VECTORS>
struct Tiles {
  static constexpr int kRows = tile_rows<VECTORS>();
  explicit Tiles(int64_t all) : rows(all), count((all + kRows - 1) / kRows) {}
  int64_t begin(int64_t tile) const { return tile == 0 ? 0 : tile == count ? rows : rows * tile / count; }
  const int64_t rows, count;
};

// Some terms of one row with neighbouring panels of a matrix that is not packed: what stands side
// by side is read at once, as the processor foresees it, of as many gates as there are registers.
// `turned` begins with the last term; `add` as above.
template <int VECTORS>
[[gnu::noinline]] static void wide_tile(const float* row, int64_t begin, int64_t terms, const Factors* panels,
                                        bool add, bool turned, float* out, int64_t stride) {
  constexpr int kGates = LANES == kGroup ? VECTORS : 1, kParts = kGroup / LANES, kSums = kGates * kTogether * kParts;
  const Weights first = panels[0].weights;
  const int64_t next = panels[1].weights.first - first.first, step = turned ? -1 : 1;
  for (int i = 0; i < VECTORS; i += kGates) {
    const int gate = turned ? VECTORS - kGates - i : i;
    F sum[kSums] = {};
    const auto each_sum = [&](auto use) {
#pragma GCC unroll 16
      for (int s = 0; s < kSums; ++s) {
        use(sum[s], s / (kTogether * kParts), s / kParts % kTogether, s % kParts * LANES);
      }
    };
    each_sum([&](F& s, int g, int panel, int lane) {
      const float* start = panels[panel].start.first;
      if (start && !add) s = load(start + (gate + g) * kGroup + lane);
    });
    int64_t k = turned ? begin + terms - 1 : begin;
    const float* weights = first.first + k * first.row + gate * first.group;
    for (int64_t n = 0; n < terms; ++n, k += step, weights += step * first.row) {
      const F x = splat(row[k]);
      each_sum([&](F& s, int g, int panel, int lane) {
        s += x * load(weights + g * first.group + panel * next + lane);
      });
    }
    each_sum([&](F& s, int g, int panel, int lane) {
      float* place = out + panel * stride + (gate + g) * kGroup + lane;
      store(place, add ? load(place) + s : s);
    });
  }
}

template <int VECTORS>
static inline void wide_blocks(const Segment& segment, const Factors* panels, bool turned, float* out,
                               int64_t stride) {
  const int64_t number = (segment.length + kBlock - 1) / kBlock;
  for (int64_t i = 0; i < number; ++i) {
    const int64_t k = (turned ? number - 1 - i : i) * kBlock, terms = std::min(kBlock, segment.length - k);
    wide_tile<VECTORS>(segment.rows[0], k, terms, panels, i > 0, turned, out, stride);
  }
}

// The product of all rows with each of some panels: `of(panel)` says what it takes, and
// `use(panel, row, sums)` takes the sums of a row. Where all rows are one tile, the products of
// several panels come first: `use` is a chain of functions, which takes hardly longer for all of
// them, and `turned` begins with the last weights: in turns, some of them are still at hand.
template <int VECTORS, class Of, class Use>
static inline void products(Panels panels, bool turned, const Segment* segments, int count, int64_t rows, Of of,
                            Use use) {
  constexpr int kRows = tile_rows<VECTORS>(), kWidth = VECTORS * kGroup;
  alignas(64) float sums[kTogether][kRows * kWidth];
  const Tiles<VECTORS> tiles(rows);
  const bool few = tiles.count == 1;
  const int64_t together = few ? kTogether : 1, last = panels.first + panels.count - 1;
  const auto panel_at = [&](int64_t i) { return few && turned ? last - i : panels.first + i; };
  for (int64_t i = 0; i < panels.count; i += together) {
    const int64_t group = std::min(together, panels.count - i);
    const bool wide = rows == 1 && group == kTogether && !packed<VECTORS>(of(panel_at(i)).weights);
    for (int64_t t = 0; t < tiles.count; ++t) {
      const int64_t first = tiles.begin(t), some = tiles.begin(t + 1) - first;
      if (wide) {
        const Factors four[] = {of(panel_at(i)), of(panel_at(i + 1)), of(panel_at(i + 2)), of(panel_at(i + 3))};
        wide_blocks<VECTORS>(segments[0], four, turned, sums[0], kRows * kWidth);
      } else {
        for (int64_t j = 0; j < group; ++j) {
          const Factors factors = of(panel_at(i + j));
          some_rows<kRows, VECTORS>(some, segments, count, first, factors.weights, factors.start, sums[j]);
        }
      }
      for (int64_t r = 0; r < some; ++r) {
        for (int64_t j = 0; j < group; ++j) use(panel_at(i + j), first + r, sums[j] + r * kWidth);
      }
    }
  }
}

// Writes the sums of all rows.
template <int VECTORS>
static inline void product_into(const Segment& segment, int64_t rows, Weights panel, Start start, float* out) {
  const Tiles<VECTORS> tiles(rows);
  for (int64_t t = 0; t < tiles.count; ++t) {
    const int64_t first = tiles.begin(t), some = tiles.begin(t + 1) - first;
    some_rows<tiles.kRows, VECTORS>(some, &segment, 1, first, panel, start, out + first * VECTORS * kGroup);
  }
}
