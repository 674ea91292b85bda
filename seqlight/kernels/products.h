// Matrix products for the loop over time, fast for small sizes. The order of each sum does not depend on how the work
// is divided.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

typedef REAL real;

#if defined(__AVX512F__)
constexpr int vector_bytes = 64, most_rows = 12;  // sums fill 24 of 32 registers
#elif defined(__AVX__)
constexpr int vector_bytes = 32, most_rows = 6;
#else
constexpr int vector_bytes = 16, most_rows = 6;
#endif
constexpr long width = vector_bytes / sizeof(real);
constexpr long panel = 2 * width;
struct Memory {  // aligned, uninitialised
  real *data;
  explicit Memory(long size) {
    if (size < 0 || size > (PTRDIFF_MAX - 127) / (long)sizeof(real)) throw std::bad_alloc();
    data = (real *)std::aligned_alloc(64, (size * sizeof(real) + 127) / 64 * 64);
    if (!data) throw std::bad_alloc();
  }
  Memory(Memory &&other) : data(other.data) { other.data = nullptr; }
  ~Memory() { std::free(data); }
};

typedef real vec __attribute__((vector_size(vector_bytes), aligned(sizeof(real)), may_alias));

static inline long padded(long n) { return (n + panel - 1) / panel * panel; }
static inline vec load(const real *from) { return *(const vec *)from; }
static inline void store(real *to, vec value) { *(vec *)to = value; }

// Copy a K x N matrix, whose element (k, n) is from[k * down + n * right], into panels; pad the last panel with 0.
static void pack(long K, long N, const real *from, long down, long right, real *to) {
  for (long first = 0; first < N; first += panel)
    for (long k = 0; k < K; k++)
      for (long n = first; n < first + panel; n++) *to++ = n < N ? from[k * down + n * right] : 0;
}

// Compute M rows of C = start + A B for one panel of B. Each sum runs over k in order, for any M.
template <int M>
static inline void tile(long K, const real *A, long A_row, const real *B, const real *start, long start_row, real *C,
                        long C_row) {
  vec sum[M][2];
  for (int m = 0; m < M; m++) {
    sum[m][0] = load(start + m * start_row);
    sum[m][1] = load(start + m * start_row + width);
  }
  for (long k = 0; k < K; k++) {
    const vec left = load(B + k * panel), right = load(B + k * panel + width);
    for (int m = 0; m < M; m++) {
      const real a = A[m * A_row + k];
      sum[m][0] += a * left;
      sum[m][1] += a * right;
    }
  }
  for (int m = 0; m < M; m++) {
    store(C + m * C_row, sum[m][0]);
    store(C + m * C_row + width, sum[m][1]);
  }
}

// Compute `rows` rows of C = start + A B. The rows of C and start are padded to whole panels.
static void product(long rows, long N, long K, const real *A, long A_row, const real *B, const real *start,
                    long start_row, real *C, long C_row) {
  for (long n = 0; n < N; n += panel, B += K * panel, start += panel, C += panel) {
    long m = 0;
#define TILES(M) \
  for (; m + M <= rows; m += M) tile<M>(K, A + m * A_row, A_row, B, start + m * start_row, start_row, C + m * C_row, C_row)
    TILES(most_rows);
    if (most_rows > 8) TILES(8);
    TILES(4);
    TILES(1);
#undef TILES
  }
}

// Add M rows of A^T B to C for one panel of B; element (m, k) of A^T is A[k * A_row + m]. The K products are summed
// before they are added to C, so that the rounding error of a long sum grows with the number of blocks only.
template <int M>
static inline void transposed_tile(long K, const real *A, long A_row, const real *B, real *C, long C_row) {
  vec sum[M][2] = {};
  for (long k = 0; k < K; k++) {
    const vec left = load(B + k * panel), right = load(B + k * panel + width);
    for (int m = 0; m < M; m++) {
      const real a = A[k * A_row + m];
      sum[m][0] += a * left;
      sum[m][1] += a * right;
    }
  }
  for (int m = 0; m < M; m++) {
    store(C + m * C_row, load(C + m * C_row) + sum[m][0]);
    store(C + m * C_row + width, load(C + m * C_row + width) + sum[m][1]);
  }
}

constexpr long chunk = 64;  // rows of B at a time in a transposed product: they stay in the cache
static long transposed_space(long first, long last, long N) { return (chunk + last - first) * padded(N); }

// Compute rows [first, last) of C = A^T B. A is (K, A_row), C is (A_row, N); row k of B has N elements from row_of(k).
// `packed` has room for transposed_space() numbers.
template <class RowOf>
static void transposed_product(long first, long last, long N, long K, const real *A, long A_row, RowOf row_of, real *C,
                               real *packed) {
  const long C_row = padded(N);
  real *sums = packed + chunk * C_row;
  std::memset(sums, 0, (last - first) * C_row * sizeof(real));
  std::fill(C + first * N, C + last * N, real(0));
  for (long start = 0; start < K; start += chunk) {
    const long rows = std::min(chunk, K - start);
    for (long k = 0; k < rows; k++) {
      const real *row = row_of(start + k);
      for (long n = 0; n < N; n += panel) {
        real *to = packed + n * rows + k * panel;
        const long here = std::min(panel, N - n);
        std::memcpy(to, row + n, here * sizeof(real));
        std::memset(to + here, 0, (panel - here) * sizeof(real));
      }
    }
    long m = first;
#define TILES(M) \
  for (; m + M <= last; m += M) \
    for (long n = 0; n < C_row; n += panel) \
      transposed_tile<M>(rows, A + start * A_row + m, A_row, packed + n * rows, sums + (m - first) * C_row + n, C_row)
    TILES(most_rows);
    TILES(4);
    TILES(1);
#undef TILES
    if (start / chunk % 32 != 31 && start + chunk < K) continue;
    for (long m = first; m < last; m++)
      for (long n = 0; n < N; n++) C[m * N + n] += sums[(m - first) * C_row + n];
    std::memset(sums, 0, (last - first) * C_row * sizeof(real));
  }
}

static long narrow_space(long first, long last, long N) { return 2 * (last - first) * N; }

// The same for few columns N, which would leave most of a panel empty: the vectors run over the rows of C. `recent` has
// room for narrow_space() numbers.
template <class RowOf>
static void narrow_product(long first, long last, long N, long K, const real *A, long A_row, RowOf row_of, real *C,
                           real *recent) {
  const long M = last - first;
  real *sums = recent + M * N;
  std::fill(recent, sums + M * N, real(0));
  for (long k = 0; k < K; k++) {
    const real *a = A + k * A_row + first, *b = row_of(k);
    for (long n = 0; n < N; n++)
#pragma GCC ivdep
      for (long m = 0; m < M; m++) recent[n * M + m] += a[m] * b[n];
    if (k % 64 != 63 && k + 1 < K) continue;
    for (long i = 0; i < M * N; i++) sums[i] += recent[i];
    std::fill(recent, sums, real(0));
  }
  for (long m = 0; m < M; m++)
    for (long n = 0; n < N; n++) C[(first + m) * N + n] = sums[n * M + m];
}
