// Weights in the order in which products read them. Included once for each instruction set.

// A matrix as it is given, `depth` rows of `width`, of which the loops take columns from `first` on.
struct Matrix {
  const float* values;
  int64_t depth, width, first;
};

// 16 columns, for every row; those beyond `count` are zero, and all are without values.
static inline void pack_group(const Matrix& from, int64_t column, int64_t count, float* to, int64_t stride) {
  const int64_t some = count < 0 || !from.values ? 0 : count < kGroup ? count : kGroup;
  for (int64_t k = 0; k < from.depth; ++k, to += stride) {
    if (some < kGroup) __builtin_memset(to, 0, kGroup * sizeof(float));
    if (some > 0) __builtin_memcpy(to, from.values + from.first + k * from.width + column, some * sizeof(float));
  }
}

// The gates of 16 units, `hidden` columns apart.
static inline void pack_gates(const Matrix& from, int64_t hidden, int gates, int64_t panel, float* to) {
  const int64_t unit = panel * kGroup;
  for (int g = 0; g < gates; ++g) {
    pack_group(from, g * hidden + unit, hidden - unit, to + g * kGroup, gates * kGroup);
  }
}

// 64 units of one gate.
static inline void pack_units(const Matrix& from, int64_t hidden, int64_t panel, float* to) {
  for (int j = 0; j < 4; ++j) {
    const int64_t unit = (panel * 4 + j) * kGroup;
    pack_group(from, unit, hidden - unit, to + j * kGroup, 4 * kGroup);
  }
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
