// Vectors of LANES floats and the functions of gates. Included once for each instruction set,
// inside a namespace of its own.
//
// Both are within 2.5 ulp where |x| < 88; they saturate beyond, and pass NaN on (native/test.cc
// measures it).

typedef float F __attribute__((vector_size(LANES * 4)));
typedef int32_t I __attribute__((vector_size(LANES * 4)));

// The lanes of one vector that stand inside an array.
static inline F load(const float* p, int64_t lanes = LANES) {
  F v = {};
  if (lanes >= LANES) {
    __builtin_memcpy(&v, p, sizeof v);
  } else {
    for (int64_t i = 0; i < lanes; ++i) v[i] = p[i];
  }
  return v;
}

static inline void store(float* p, F v, int64_t lanes = LANES) {
  if (lanes >= LANES) {
    __builtin_memcpy(p, &v, sizeof v);
  } else {
    for (int64_t i = 0; i < lanes; ++i) p[i] = v[i];
  }
}

static inline F splat(float x) { return x - F{}; }
static inline I bits(F x) { return (I)x; }
static inline F floats(I x) { return (F)x; }

// The bound where x is beyond it, else x: so NaN stays. Compilers take two instructions if not told.
#if LANES == 16
static inline F at_most(F x, float bound) { return (F)_mm512_min_ps((__m512)splat(bound), (__m512)x); }
static inline F at_least(F x, float bound) { return (F)_mm512_max_ps((__m512)splat(bound), (__m512)x); }
#elif LANES == 8
static inline F at_most(F x, float bound) { return (F)_mm256_min_ps((__m256)splat(bound), (__m256)x); }
static inline F at_least(F x, float bound) { return (F)_mm256_max_ps((__m256)splat(bound), (__m256)x); }
#else
static inline F at_most(F x, float bound) { return splat(bound) < x ? splat(bound) : x; }
static inline F at_least(F x, float bound) { return splat(bound) > x ? splat(bound) : x; }
#endif

// exp(x) = power * (1 + rest), for -87 <= x <= 88.
struct Exponential {
  F power, rest;
};

// A power of two times a polynomial (Cephes).
static inline Exponential exponential(F x) {
  const F magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const F t = x * 1.44269504088896341f + magic;
  const F n = t - magic;
  F r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  F p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return {floats((bits(t) << 23) + 0x3f800000), p * (r * r) + r};
}

static inline F sigmoid(F x) {
  const Exponential e = exponential(at_least(at_most(-x, 88.0f), -87.0f));
  return 1.0f / (1.0f + (e.power * e.rest + e.power));
}

// With m = exp(2 |x|) - 1, which loses nothing where x is small, it is m / (m + 2).
static inline F tanh(F x) {
  const I sign = bits(x) & (int32_t)0x80000000;
  const F size = floats(bits(x) & 0x7fffffff);
  const Exponential e = exponential(at_most(size + size, 40.0f));
  const F m = e.power * e.rest + (e.power - 1.0f);
  return floats(bits(m / (m + 2.0f)) | sign);
}
