// Elementwise functions for generated cells. They treat NaN and infinity as torch's functions do.
//
// The float versions have no branches, calls or tables, so that the compiler can turn a loop over units into vector
// instructions. Their errors are a few units in the last place.

#include <cmath>
#include <cstdint>
#include <cstring>

typedef REAL real;

template <class To, class From> static inline To bits(From from) {
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

static inline float power_of_2(int32_t n) { return bits<float>((n + 127) << 23); }

// Split x = n ln 2 + r, and return r. Adding 1.5 * 2^23 rounds to a whole number, whose lowest bits are n.
static inline float reduce(float x, int32_t &n) {
  const float shift = 12582912.f;
  float rounded = x * 1.442695041f + shift;
  n = bits<int32_t>(rounded) - bits<int32_t>(shift);
  rounded -= shift;
  return (x - rounded * 0.693145752f) - rounded * 1.428606765e-6f;
}

// exp(r) - 1 for |r| <= ln 2 / 2, by the Taylor series; the first omitted term is below 2^-27.
static inline float exponential_series(float r) {
  float p = 1.f / 5040;
  p = p * r + 1.f / 720;
  p = p * r + 1.f / 120;
  p = p * r + 1.f / 24;
  p = p * r + 1.f / 6;
  p = p * r + 0.5f;
  return p * r * r + r;
}

static inline float exponential(float x) {
  x = x > 89.f ? 89.f : x;  // to infinity
  x = x < -104.f ? -104.f : x;  // to 0
  int32_t n;
  const float r = reduce(x, n);
  const int32_t half = n >> 1;  // 2^n itself can be out of range
  return (exponential_series(r) + 1.f) * power_of_2(half) * power_of_2(n - half);
}

static inline float exponential_minus_1(float x) {
  const float bounded = x > 88.f ? 88.f : (x < -30.f ? -30.f : x);
  int32_t n;
  const float r = reduce(bounded, n);
  const float scale = power_of_2(n);
  const float value = exponential_series(r) * scale + (scale - 1.f);
  return x > 88.f ? exponential(x) : value;
}

static inline float hyperbolic_tangent(float x) {
  float twice = 2.f * std::fabs(x);
  twice = twice > 40.f ? 40.f : twice;
  int32_t n;
  const float r = reduce(twice, n);
  const float scale = power_of_2(n);
  const float t = exponential_series(r) * scale + (scale - 1.f);
  return std::copysign(t / (t + 2.f), x);
}

// log x = n ln 2 + 2 artanh((m - 1) / (m + 1)) for x = 2^n m, m between sqrt(1/2) and sqrt(2).
static inline float logarithm(float x) {
  const float scaled = x < 1.17549435e-38f ? x * 8388608.f : x;  // denormal numbers
  const int32_t i = bits<int32_t>(scaled) - 0x3f3504f3;
  const int32_t n = i >> 23;
  const float m = bits<float>(bits<int32_t>(scaled) - (n << 23));
  const float s = (m - 1.f) / (m + 1.f), q = s * s;
  float p = 2.f / 9;
  p = p * q + 2.f / 7;
  p = p * q + 2.f / 5;
  p = p * q + 2.f / 3;
  p = p * q * s + 2.f * s;
  const float exponent = float(n) - (x < 1.17549435e-38f ? 23.f : 0.f);
  float value = exponent * 0.693145752f + (p + exponent * 1.428606765e-6f);
  value = x < INFINITY ? value : x;
  value = x < 0.f ? NAN : value;
  return x == 0.f ? -INFINITY : value;
}

// log(1 + x) = log u + (x - (u - 1)) / u, where u is 1 + x rounded: the second term corrects the rounding.
static inline float logarithm_plus_1(float x) {
  const float u = 1.f + x;
  const float lost = (x - (u - 1.f)) / u;
  const float value = logarithm(u);
  return (u > 0.f) & (u < INFINITY) ? value + lost : value;
}

static inline double exponential(double x) { return std::exp(x); }
static inline double exponential_minus_1(double x) { return std::expm1(x); }
static inline double hyperbolic_tangent(double x) { return std::tanh(x); }
static inline double logarithm(double x) { return std::log(x); }
static inline double logarithm_plus_1(double x) { return std::log1p(x); }

static inline real sigmoid(real x) { return 1 / (1 + exponential(-x)); }
static inline real relu(real x) { return x < 0 ? real(0) : x; }
static inline real reciprocal(real x) { return 1 / x; }
static inline real reciprocal_root(real x) { return 1 / std::sqrt(x); }
static inline real sign(real x) { return x > 0 ? real(1) : (x < 0 ? real(-1) : real(0)); }
static inline real maximum(real a, real b) { return a != a ? a : (a > b ? a : b); }
static inline real minimum(real a, real b) { return a != a ? a : (a < b ? a : b); }
static inline real choose(real condition, real a, real b) { return condition != 0 ? a : b; }
static inline real truth(bool condition) { return condition ? real(1) : real(0); }
