// The product of a step: some rows times one panel of packed weights. Included once for each
// instruction set.
//
// A panel holds, for each k, VECTORS groups of 16 columns: the gates of 16 units, or 16 * VECTORS
// units of one gate.

constexpr int kGroup = 16;  // columns that stand together, for every instruction set

// A part of the contraction: where each row of its operand begins, and how long it is.
struct Segment {
  const float* const* rows;
  int64_t length;
};

template <int ROWS, int VECTORS>
static inline void tile(const Segment* segments, int count, int64_t first, const float* panel,
                        float* out) {
  constexpr int kStride = VECTORS * kGroup;
  for (int lane = 0; lane < kGroup; lane += LANES) {
    F sum[ROWS][VECTORS] = {};
    const float* weights = panel + lane;
    for (int s = 0; s < count; ++s) {
      const float* a[ROWS];
      for (int r = 0; r < ROWS; ++r) a[r] = segments[s].rows[first + r];
      for (int64_t k = 0; k < segments[s].length; ++k, weights += kStride) {
        F w[VECTORS];
#pragma GCC unroll 8  // sums must be registers, whatever is asked of the compiler
        for (int j = 0; j < VECTORS; ++j) w[j] = load(weights + j * kGroup);
#pragma GCC unroll 16
        for (int r = 0; r < ROWS; ++r) {
          const F x = splat(a[r][k]);
#pragma GCC unroll 8
          for (int j = 0; j < VECTORS; ++j) sum[r][j] += x * w[j];
        }
      }
    }
    for (int r = 0; r < ROWS; ++r) {
      for (int j = 0; j < VECTORS; ++j) store(out + r * kStride + j * kGroup + lane, sum[r][j]);
    }
  }
}

// As many rows as the registers hold.
template <int VECTORS>
constexpr int tile_rows() {
  return (LANES == 16 ? 24 : 12) / VECTORS;
}

template <int ROWS, int VECTORS>
static inline void some_rows(int64_t rows, const Segment* segments, int count, int64_t first,
                             const float* panel, float* out) {
  if constexpr (ROWS > 0) {
    if (rows == ROWS) return tile<ROWS, VECTORS>(segments, count, first, panel, out);
    some_rows<ROWS - 1, VECTORS>(rows, segments, count, first, panel, out);
  }
}

// All rows, a tile at a time: `use(row, product)` takes VECTORS * 16 numbers of one row.
template <int VECTORS, class Use>
static inline void product(const Segment* segments, int count, int64_t rows, const float* panel,
                           Use use) {
  constexpr int kRows = tile_rows<VECTORS>();
  alignas(64) float out[kRows * VECTORS * kGroup];
  for (int64_t first = 0; first < rows; first += kRows) {
    const int64_t some = rows - first < kRows ? rows - first : kRows;
    some_rows<kRows, VECTORS>(some, segments, count, first, panel, out);
    for (int64_t r = 0; r < some; ++r) use(first + r, out + r * VECTORS * kGroup);
  }
}
