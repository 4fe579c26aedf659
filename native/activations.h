// Vectors of LANES floats and the functions of gates. Included once for each instruction set,
// inside a namespace of its own.
//
// sigmoid is within 2.5 ulp and tanh within 1.5 where |x| < 88; both saturate beyond, and pass NaN
// on (native/test.cc measures it).

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

// exp(x): 2^n times a polynomial (Cephes); infinite above 88.4, and never below 1e-38.
static inline F exponential(F x) {
  x = x < splat(-87.0f) ? splat(-87.0f) : x;  // NaN compares false and stays
  x = x > splat(89.0f) ? splat(89.0f) : x;
  const F magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  F t = x * 1.44269504088896341f + magic;
  F n = t - magic;
  F r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  F p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  return p * floats((bits(t) << 23) + 0x3f800000);
}

static inline F sigmoid(F x) { return 1.0f / (1.0f + exponential(-x)); }

static inline F tanh(F x) {
  const I sign = bits(x) & (int32_t)0x80000000;
  const F size = floats(bits(x) & 0x7fffffff);
  F z = x * x;
  F p = splat(-5.70498872745e-3f);
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const F small = p * z * x + x;
  const F large = 1.0f - 2.0f / (exponential(size + size) + 1.0f);
  return size < splat(0.625f) ? small : floats(bits(large) | sign);
}
