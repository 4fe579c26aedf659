// A network one step, or some steps, at a time, for streams: few rows, weights packed once for all
// calls, nothing allocated, one thread. Included once for each instruction set.
//
// Layer by layer: inputs of some steps are projected together, then every step adds what the carry
// makes. Sums of all units come first, so that the chains of functions behind gates overlap.

// Weights as floats. bfloat16 is the upper half of a float. Compilers turn bytes into floats one by
// one if they are not told.
static inline F load_weights(const float* p) { return load(p); }
#if LANES == 16
static inline F load_weights(const uint16_t* p) {
  const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return (F)_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16);
}
static inline F load_weights(const int8_t* p) {
  const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return (F)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(v));
}
#elif LANES == 8
static inline F load_weights(const uint16_t* p) {
  const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return (F)_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16);
}
static inline F load_weights(const int8_t* p) {
  const __m128i v = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return (F)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v));
}
#else
typedef uint16_t Halves __attribute__((vector_size(LANES * 2)));
typedef int8_t Bytes __attribute__((vector_size(LANES)));
static inline F load_weights(const uint16_t* p) {
  Halves v;
  __builtin_memcpy(&v, p, sizeof v);
  return floats(__builtin_convertvector(v, I) << 16);
}
static inline F load_weights(const int8_t* p) {
  Bytes v;
  __builtin_memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, F);
}
#endif

// Adds the product of ROWS rows with one panel to `sums`. With a single row all 16 columns of a
// group go together, and terms are dealt to several sums: else each would wait for the last.
template <int ROWS, int VECTORS, class T>
[[gnu::noinline]] static void add_panel(const float* rows, int64_t stride, int64_t terms, const T* panel,
                                        const float* scales, float* sums, int64_t width) {
  constexpr int kParts = ROWS == 1 ? kGroup / LANES : 1, kVectors = VECTORS * kParts;
  constexpr int kDealt = ROWS == 1 && kVectors < 8 ? 8 / kVectors : 1;
  constexpr int kRow = VECTORS * kGroup, kStep = kParts == 1 ? kGroup : LANES;
  for (int lane = 0; lane < kGroup; lane += kParts * LANES) {
    for (int64_t begin = 0; begin < terms; begin += kBlock) {
      const int64_t end = begin + kBlock < terms ? begin + kBlock : terms;
      F sum[kDealt][ROWS][kVectors] = {};
      const auto add = [&](int dealt, int64_t k) {
        const T* const weights = panel + k * kRow + lane;
        F w[kVectors];
#pragma GCC unroll 16  // sums must be registers, whatever is asked of the compiler
        for (int j = 0; j < kVectors; ++j) w[j] = load_weights(weights + j * kStep);
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; ++r) {
          const F x = splat(rows[r * stride + k]);
#pragma GCC unroll 16
          for (int j = 0; j < kVectors; ++j) sum[dealt][r][j] += x * w[j];
        }
      };
      int64_t k = begin;
      for (; k + kDealt <= end; k += kDealt) {
#pragma GCC unroll 4
        for (int dealt = 0; dealt < kDealt; ++dealt) add(dealt, k + dealt);
      }
      for (; k < end; ++k) add(0, k);
#pragma GCC unroll 4
      for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 16
        for (int j = 0; j < kVectors; ++j) {
          F all = sum[0][r][j];
#pragma GCC unroll 4
          for (int dealt = 1; dealt < kDealt; ++dealt) all += sum[dealt][r][j];
          const int64_t column = j * kStep + lane;
          float* const place = sums + r * width + column;
          store(place, load(place) + (scales ? all * load(scales + column) : all));
        }
      }
    }
  }
}

// The products of all rows, (rows, stride), with all panels; sums are (rows, width).
template <int VECTORS, class T>
static void add_panels(const StepWeights& w, const float* x, int64_t stride, int64_t rows, float* sums,
                       int64_t width) {
  constexpr int64_t kRow = VECTORS * kGroup;
  const T* const values = static_cast<const T*>(w.values);
  for (int64_t first = 0; first < width; first += kRow) {
    const T* const panel = values + first * w.rows;
    const float* const scales = w.scales ? w.scales + first : nullptr;
    int64_t r = 0;
    if (LANES == 16) {  // as many rows as the registers hold
      for (; r + 4 <= rows; r += 4) {
        add_panel<4, VECTORS>(x + r * stride, stride, w.rows, panel, scales, sums + r * width + first, width);
      }
    }
    for (; r + 2 <= rows; r += 2) {
      add_panel<2, VECTORS>(x + r * stride, stride, w.rows, panel, scales, sums + r * width + first, width);
    }
    if (r < rows) {
      add_panel<1, VECTORS>(x + r * stride, stride, w.rows, panel, scales, sums + r * width + first, width);
    }
  }
}

template <int VECTORS>
static void add_product(const StepWeights& w, const float* x, int64_t rows, float* sums, int64_t width) {
  switch (w.stored) {
    case kBFloat16: return add_panels<VECTORS, uint16_t>(w, x, w.rows, rows, sums, width);
    case kInt8: return add_panels<VECTORS, int8_t>(w, x, w.rows, rows, sums, width);
    default: return add_panels<VECTORS, float>(w, x, w.rows, rows, sums, width);
  }
}

static void add_product(int vectors, const StepWeights& w, const float* x, int64_t rows, float* sums,
                        int64_t width) {
  switch (vectors) {
    case 2: return add_product<2>(w, x, rows, sums, width);
    case 3: return add_product<3>(w, x, rows, sums, width);
    default: return add_product<4>(w, x, rows, sums, width);
  }
}

// Every row begins with the bias.
static void begin_with_bias(const float* bias, int64_t rows, float* sums, int64_t width) {
  for (int64_t r = 0; r < rows; ++r) __builtin_memcpy(sums + r * width, bias, width * sizeof(float));
}

static inline F apply_activation(int32_t activation, F s) {
  switch (activation) {
    case kTanhOf: return tanh(s);
    case kReLUOf: return s < F{} ? F{} : s;
    case kSigmoidOf: return sigmoid(s);
    case kSiLUOf: return s * sigmoid(s);
    default: return s;
  }
}

// Calls `use(unit, lanes, offset)` for the vectors of a row: `offset` is where the first gate of a
// unit stands in sums whose panels have VECTORS gates.
template <int VECTORS, class Use>
static inline void each_unit(int64_t hidden, Use use) {
  for (int64_t unit = 0; unit < hidden; unit += LANES) {
    use(unit, hidden - unit, unit / kGroup * VECTORS * kGroup + unit % kGroup);
  }
}

// One layer, for some steps. Arrays are (steps, rows, ...).
class StepRun {
 public:
  StepRun(const StepLayer& layer, int64_t rows, float* scratch)
      : layer_(layer), rows_(rows), h_(layer.outputs), width_(step_width(layer)), scratch_(scratch) {}

  void run(int64_t steps, const void* x, Carry begin, float* y, MutableCarry end) {
    switch (layer_.kind) {
      case kDenseLayer: return dense(steps * rows_, static_cast<const float*>(x), y);
      case kEmbeddingLayer: return embed(steps * rows_, static_cast<const int64_t*>(x), y);
      case kActivationLayer: return activate(steps * rows_, static_cast<const float*>(x), y);
      default: recur(steps, static_cast<const float*>(x), begin, y, end);
    }
  }

 private:
  void recur(int64_t steps, const float* x, Carry begin, float* y, MutableCarry end) {
    const int64_t count = rows_ * h_;
    float* const sums = scratch_;
    rest_ = sums + steps * rows_ * width_;
    candidates_ = rest_ + rows_ * width_;
    begin_with_bias(layer_.bias, steps * rows_, sums, width_);
    add_product(step_vectors(layer_.kind), layer_.weights[0], x, steps * rows_, sums, width_);
    if (layer_.kind == kGRUBefore) {
      begin_with_bias(layer_.candidate_bias, steps * rows_, candidates_, candidate_width());
      add_product<4>(layer_.weights[2], x, steps * rows_, candidates_, candidate_width());
    }
    for (int64_t t = 0; t < steps; ++t) {
      const float* const h = t ? y + (t - 1) * count : begin.h;
      step(t, sums + t * rows_ * width_, h, t ? end.c : begin.c, y + t * count, end.c);
    }
    if (steps) __builtin_memcpy(end.h, y + (steps - 1) * count, count * sizeof(float));
  }

  void step(int64_t t, float* sums, const float* h, const float* c, float* y, float* c_now) {
    switch (layer_.kind) {
      case kLSTM: return lstm(sums, h, c, y, c_now);
      case kGRUAfter: return gru_after(sums, h, y);
      case kGRUBefore: return gru_before(sums, candidates_ + t * rows_ * candidate_width(), h, y);
      default: return elman(sums, h, y);
    }
  }

  void lstm(float* sums, const float* h, const float* c, float* y, float* c_now) {
    add_product<4>(layer_.weights[1], h, rows_, sums, width_);
    for (int64_t r = 0; r < rows_; ++r) {
      each_unit<4>(h_, [&](int64_t unit, int64_t lanes, int64_t offset) {
        const float* const s = sums + r * width_ + offset;
        const F i = sigmoid(load(s)), f = sigmoid(load(s + kGroup));
        const F g = tanh(load(s + 2 * kGroup)), o = sigmoid(load(s + 3 * kGroup));
        const F now = f * load(c + r * h_ + unit, lanes) + i * g;
        store(c_now + r * h_ + unit, now, lanes);
        store(y + r * h_ + unit, o * tanh(now), lanes);
      });
    }
  }

  void gru_after(const float* sums, const float* h, float* y) {
    __builtin_memset(rest_, 0, rows_ * width_ * sizeof(float));
    add_product<3>(layer_.weights[1], h, rows_, rest_, width_);
    for (int64_t r = 0; r < rows_; ++r) {
      each_unit<3>(h_, [&](int64_t unit, int64_t lanes, int64_t offset) {
        const float *const x = sums + r * width_ + offset, *const s = rest_ + r * width_ + offset;
        const F reset = sigmoid(load(x) + load(s)), update = sigmoid(load(x + kGroup) + load(s + kGroup));
        const F h_n = load(s + 2 * kGroup) + load(layer_.candidate_bias + unit);
        const F n = tanh(load(x + 2 * kGroup) + reset * h_n);
        store(y + r * h_ + unit, n + update * (load(h + r * h_ + unit, lanes) - n), lanes);
      });
    }
  }

  // Updates take the place of the reset gates' sums.
  void gru_before(float* sums, float* candidates, const float* h, float* y) {
    add_product<2>(layer_.weights[1], h, rows_, sums, width_);
    for (int64_t r = 0; r < rows_; ++r) {
      each_unit<2>(h_, [&](int64_t unit, int64_t lanes, int64_t offset) {
        float* const s = sums + r * width_ + offset;
        store(rest_ + r * h_ + unit, sigmoid(load(s)) * load(h + r * h_ + unit, lanes), lanes);
        store(s, sigmoid(load(s + kGroup)));
      });
    }
    add_product<4>(layer_.weights[3], rest_, rows_, candidates, candidate_width());
    for (int64_t r = 0; r < rows_; ++r) {
      each_unit<2>(h_, [&](int64_t unit, int64_t lanes, int64_t offset) {
        const F n = tanh(load(candidates + r * candidate_width() + unit));
        const F update = load(sums + r * width_ + offset);
        store(y + r * h_ + unit, n + update * (load(h + r * h_ + unit, lanes) - n), lanes);
      });
    }
  }

  void elman(float* sums, const float* h, float* y) {
    add_product<4>(layer_.weights[1], h, rows_, sums, width_);
    finish(rows_, sums, layer_.kind == kTanh ? kTanhOf : kReLUOf, y);
  }

  void dense(int64_t rows, const float* x, float* y) {
    begin_with_bias(layer_.bias, rows, scratch_, width_);
    add_product<4>(layer_.weights[0], x, rows, scratch_, width_);
    finish(rows, scratch_, layer_.activation, y);
  }

  void finish(int64_t rows, const float* sums, int32_t activation, float* y) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t unit = 0; unit < h_; unit += LANES) {
        store(y + r * h_ + unit, apply_activation(activation, load(sums + r * width_ + unit)), h_ - unit);
      }
    }
  }

  void activate(int64_t rows, const float* x, float* y) {
    const int64_t count = rows * h_;
    for (int64_t i = 0; i < count; i += LANES) {
      store(y + i, apply_activation(layer_.activation, load(x + i, count - i)), count - i);
    }
  }

  // The vectors stand in their table as they are given; a scale belongs to a token. One without a
  // vector, which callers refuse, is NaN and no address.
  void embed(int64_t rows, const int64_t* tokens, float* y) {
    const StepWeights& w = layer_.weights[0];
    for (int64_t r = 0; r < rows; ++r, y += h_) {
      const int64_t token = __atomic_load_n(tokens + r, __ATOMIC_RELAXED);  // read once
      if (token < 0 || token >= w.rows) {
        for (int64_t i = 0; i < h_; ++i) y[i] = __builtin_nanf("");
        continue;
      }
      const int64_t first = token * h_;
      if (w.stored == kFloat32) {
        __builtin_memcpy(y, static_cast<const float*>(w.values) + first, h_ * sizeof(float));
      } else if (w.stored == kBFloat16) {
        for (int64_t i = 0; i < h_; ++i) {
          const uint32_t number = uint32_t(static_cast<const uint16_t*>(w.values)[first + i]) << 16;
          __builtin_memcpy(y + i, &number, sizeof number);
        }
      } else {
        for (int64_t i = 0; i < h_; ++i) y[i] = static_cast<const int8_t*>(w.values)[first + i] * w.scales[token];
      }
    }
  }

  int64_t candidate_width() const { return padded(h_, 4 * kGroup); }

  const StepLayer& layer_;
  const int64_t rows_, h_, width_;
  float* const scratch_;
  float *rest_ = nullptr, *candidates_ = nullptr;
};

// All layers, some steps at once, so that what stands between layers stays small.
static void steps(const StepCall& call) {
  if (!call.rows) return;
  const FlushDenormals flush;
  float* const work = call.scratch + 2 * between_numbers(call);
  for (int64_t first = 0; first < call.steps; first += kStepsTogether) {
    const int64_t some = std::min(call.steps - first, kStepsTogether);
    const char* x = static_cast<const char*>(call.x) + first * call.rows * step_input_bytes(call.layers[0]);
    const float* const* begin = call.begin;
    float* end = call.end;
    for (int64_t l = 0; l < call.count; ++l) {
      const StepLayer& layer = call.layers[l];
      const bool last = l + 1 == call.count;
      float* const y = last ? call.y + first * call.rows * layer.outputs : call.scratch + l % 2 * between_numbers(call);
      Carry from;
      MutableCarry to;
      for (int64_t leaf = 0; leaf < step_leaves(layer.kind); ++leaf, ++begin, end += call.rows * layer.outputs) {
        (leaf ? from.c : from.h) = first ? end : *begin;
        (leaf ? to.c : to.h) = end;
      }
      StepRun(layer, call.rows, work).run(some, x, from, y, to);
      x = reinterpret_cast<const char*>(y);
    }
  }
}
