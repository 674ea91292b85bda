// The loop over time, forward and backward, for any cell.
//
// A batch is laid out by time, in `steps` groups of rows. Group t has `batch_sizes[t]` rows, one for each sequence
// that has a step t. The longest sequences come first, so row b of every group belongs to the same sequence.

#include <cstdint>
#include <exception>
#include <new>
#include <stdexcept>
#include <thread>

#include "cell.h"
#include "products.h"

// Shapes: K models with separate weights, N rows of all steps together, B sequences, F features, H units, G gates,
// I blocks of H input gates (I = G if `inputs` are passed), S states, P parameters.
struct Arguments {
  int64_t models, steps, batch, features, hidden, rows, threads;
  const int64_t *batch_sizes;       // (steps,), decreasing
  const real *inputs;               // (K, N, F); null if `input_gates` are passed
  const real *weight_ih;            // (K, G H, F)
  const real *bias_ih;              // (K, G H)
  const real *input_gates;          // (K, N, I H), I >= G; null if `inputs` are passed
  const real *weight_hh;            // (K, G H, H)
  const real *bias_hh;              // (K, G H)
  const real *parameters;           // (K, P, H)
  const real *initial;              // (K, S, B, H): states before the first step; null for zeros
  real *states;                     // (K, S, B + N, H): initial states, then the states after each row's step
  real *final;                      // (K, S, B, H): states after each sequence's last step
  real *saved;                      // (K, N, saved, H), for the backward pass; can be null
  const real *grad_outputs;         // (K, N, H); can be null
  real *grad_state;                 // (K, S, B, H): in: gradient by each final state; out: by each initial state
  real *grad_input_gates;           // (K, N, I H)
  real *grad_hidden_gates;          // (K, N, G H); not written if cell.same_gate_gradients
  real *grad_sums;                  // (K, sums): sums of grad_input_gates, grad_hidden_gates, parameter gradients
  real *grad_weight_ih;             // (K, G H, F), if `inputs` are passed
  real *grad_weight_hh;             // (K, G H, H), if cell.recurrent
};

// A bias, padded with 0 to whole panels.
static Memory padded_copy(const real *from, long size) {
  Memory copy(padded(size));
  std::memset(copy.data, 0, padded(size) * sizeof(real));
  std::memcpy(copy.data, from, size * sizeof(real));
  return copy;
}

// One of the models, with the data that all its threads read.
struct Model {
  const CellInterface &cell;
  const Arguments &a;
  const long k, F, H, GH, IH;
  std::vector<long> offset;
  Memory weight_ih, weight_hh, bias_ih, bias_hh;  // in panels

  Model(const CellInterface &cell, const Arguments &a, long k, bool forward)
      : cell(cell), a(a), k(k), F(a.features), H(a.hidden), GH(cell.num_gates * H), IH(cell.num_input_gates * H),
        offset(a.steps + 1), weight_ih(forward && a.inputs ? padded(GH) * F : 0),
        weight_hh(cell.recurrent ? (forward ? padded(GH) * H : padded(H) * GH) : 0),
        bias_ih(padded_copy(a.bias_ih + k * GH, forward && a.inputs ? GH : 0)),
        bias_hh(padded_copy(a.bias_hh + k * GH, forward && cell.recurrent ? GH : 0)) {
    for (long t = 0; t < a.steps; t++) offset[t + 1] = offset[t] + a.batch_sizes[t];
    if (forward && a.inputs) pack(F, GH, a.weight_ih + k * GH * F, 1, F, weight_ih.data);
    if (!cell.recurrent) return;
    const real *from = a.weight_hh + k * GH * H;
    if (forward) pack(H, GH, from, 1, H, weight_hh.data);
    else pack(GH, H, from, H, 1, weight_hh.data);
  }
  long plane() const { return (a.batch + a.rows) * H; }
  real *states_before(long t) const {
    return a.states + k * cell.num_states * plane() + (t ? a.batch + offset[t - 1] : 0) * H;
  }
  // The number of rows of step t that belong to the sequences [begin, end).
  long active(long t, long begin, long end) const { return std::max(std::min((long)a.batch_sizes[t], end) - begin, 0L); }
};

// The input gates of several steps are computed in one product: enough for speed, few enough to stay in the cache.
static long steps_together(long batch) { return std::max(1L, 128 / batch); }

// `hidden` has room for the hidden gates of a step and the input gates of several.
static long forward_space(const Model &model, long batch) {
  return (model.a.inputs ? 1 + steps_together(batch) : 1) * batch * padded(model.GH);
}

static void forward_rows(const Model &model, long begin, long end, real *hidden) {
  const CellInterface &cell = model.cell;
  const Arguments &a = model.a;
  const long F = model.F, H = model.H, GH = model.GH, row = padded(GH), batch = end - begin, k = model.k;
  const long together = steps_together(batch), input_row = a.inputs ? row : model.IH;
  real *projected = hidden + batch * row;
  real *initial = model.states_before(0) + begin * H;
  for (long s = 0; s < cell.num_states; s++, initial += model.plane()) {
    const long size = batch * H * sizeof(real);
    if (a.initial) std::memcpy(initial, a.initial + ((k * cell.num_states + s) * a.batch + begin) * H, size);
    else std::memset(initial, 0, size);
  }
  for (long t = 0; t < a.steps; t++) {
    const long rows = model.active(t, begin, end), first = k * a.rows + model.offset[t] + begin;
    if (rows == 0) break;
    if (a.inputs && t % together == 0)
      for (long n = 0; n < GH; n += panel)
        for (long s = t; s < std::min(t + together, (long)a.steps); s++)
          product(model.active(s, begin, end), panel, F, a.inputs + (k * a.rows + model.offset[s] + begin) * F, F,
                  model.weight_ih.data + n * F, model.bias_ih.data + n, 0, projected + (s - t) * batch * row + n, row);
    const real *input_gates = a.inputs ? projected + t % together * batch * row : a.input_gates + first * model.IH;
    const real *before = model.states_before(t) + begin * H, *parameters = a.parameters + k * cell.num_parameters * H;
    if (cell.recurrent)
      product(rows, GH, H, before, H, model.weight_hh.data, model.bias_hh.data, 0, hidden, row);
    real *after = model.states_before(t + 1) + begin * H;
    if (a.saved)
      cell.forward_saving(rows, H, input_gates, input_row, hidden, row, parameters, before, after, model.plane(),
                          a.saved + first * cell.num_saved * H);
    else
      cell.forward(rows, H, input_gates, input_row, hidden, row, parameters, before, after, model.plane());
    // Copy the states of the sequences that end at this step.
    const long left = t + 1 < a.steps ? model.active(t + 1, begin, end) : 0;
    for (long s = 0; s < cell.num_states; s++)
      std::memcpy(a.final + ((k * cell.num_states + s) * a.batch + begin + left) * H,
                  after + s * model.plane() + left * H, (rows - left) * H * sizeof(real));
  }
}

// `grad` has room for the gradients by the states and for sums.
static long backward_space(const Model &model, long batch, long block) {
  const long num_blocks = (batch + block - 1) / block;
  return model.cell.num_states * batch * padded(model.H) + num_blocks * model.cell.num_sums * model.H;
}

// `begin` is a multiple of `block`.
static void backward_rows(const Model &model, long begin, long end, long block, real *sums, real *grad) {
  const CellInterface &cell = model.cell;
  const Arguments &a = model.a;
  const long H = model.H, GH = model.GH, IH = model.IH, state_row = padded(H), k = model.k, batch = end - begin;
  const long grad_plane = batch * state_row, num_sums = cell.num_sums * H;
  // Sums over a few steps, which are then added to the total: this limits the rounding error of a long sum.
  const long first_block = begin / block, num_recent = ((end - 1) / block - first_block + 1) * num_sums;
  real *recent = grad + cell.num_states * grad_plane;
  std::memset(recent, 0, num_recent * sizeof(real));
  real *by_end = a.grad_state + k * cell.num_states * a.batch * H;
  for (long s = 0; s < cell.num_states; s++)
    for (long b = 0; b < batch; b++)
      std::memcpy(grad + s * grad_plane + b * state_row, by_end + (s * a.batch + begin + b) * H, H * sizeof(real));
  for (long t = a.steps - 1; t >= 0; t--) {
    const long rows = model.active(t, begin, end), first = model.offset[t] + begin;
    if (rows == 0) continue;
    real *by_input = a.grad_input_gates + (k * a.rows + first) * IH;
    real *by_hidden = cell.same_gate_gradients ? by_input : a.grad_hidden_gates + (k * a.rows + first) * GH;
    const long row = k * a.rows + first;
    cell.backward(rows, block, H, a.parameters + k * cell.num_parameters * H, model.states_before(t) + begin * H,
                  model.states_before(t + 1) + begin * H, model.plane(), a.saved + row * cell.num_saved * H,
                  a.grad_outputs ? a.grad_outputs + row * H : nullptr, by_input, by_hidden, grad, state_row,
                  grad_plane, recent);
    if (t % 32 == 0) {
      for (long i = 0; i < num_recent; i++) sums[first_block * num_sums + i] += recent[i];
      std::memset(recent, 0, num_recent * sizeof(real));
    }
    if (cell.recurrent)
      product(rows, H, GH, by_hidden, GH, model.weight_hh.data, grad, state_row, grad, state_row);
  }
  for (long s = 0; s < cell.num_states; s++)
    for (long b = 0; b < batch; b++)
      std::memcpy(by_end + (s * a.batch + begin + b) * H, grad + s * grad_plane + b * state_row, H * sizeof(real));
}

// Threads get whole blocks of sequences. The number of blocks, and so each sum, does not depend on the threads.
static long rows_per_block(long batch) { return (batch + 15) / 16; }

// Run work(bounds[i], bounds[i + 1], space) for each i, each on its own thread, or on this one if no more can start.
// `space` has room for space_of(bounds[i], bounds[i + 1]) numbers. It is allocated here: where memory is short, even an
// exception in a new thread can end the process.
template <class SpaceOf, class Work>
static void run(const std::vector<long> &bounds, SpaceOf space_of, Work work) {
  const size_t shares = bounds.size() - 1;
  std::vector<Memory> spaces;
  spaces.reserve(shares);
  for (size_t i = 0; i < shares; i++) spaces.emplace_back(space_of(bounds[i], bounds[i + 1]));
  auto share = [&](size_t i) noexcept { work(bounds[i], bounds[i + 1], spaces[i].data); };
  std::vector<std::thread> others;
  others.reserve(shares);
  size_t next = 1;
  try {
    for (; next < shares; next++) others.emplace_back(share, next);
  } catch (const std::exception &) {  // no memory or process for a thread
  }
  if (shares > 0) share(0);
  for (; next < shares; next++) share(next);
  for (auto &other : others) other.join();
}

// Divide the sequences among the threads, so that each gets about the same number of rows.
static std::vector<long> share_sequences(const Arguments &a) {
  const long block = rows_per_block(a.batch);
  std::vector<long> length(a.batch, 0), bounds{0};
  for (long t = a.steps - 1, b = 0; t >= 0; t--)
    for (; b < a.batch_sizes[t]; b++) length[b] = t + 1;
  for (long b = 0, done = 0; b < a.batch; b++) {
    done += length[b];
    const bool full = done * a.threads >= (long)bounds.size() * a.rows;
    if (b + 1 == a.batch || (full && (b + 1) % block == 0)) bounds.push_back(b + 1);
  }
  return bounds;
}

// The gradients of the weights, from those of all gates. Each thread computes some rows of the weights.
static void weight_gradients(const Model &model) {
  const CellInterface &cell = model.cell;
  const Arguments &a = model.a;
  const long F = model.F, H = model.H, GH = model.GH, k = model.k;
  std::vector<const real *> before(cell.recurrent ? a.rows : 0);
  for (long t = 0; cell.recurrent && t < a.steps; t++)
    for (long b = 0; b < a.batch_sizes[t]; b++) before[model.offset[t] + b] = model.states_before(t) + b * H;
  std::vector<long> bounds{0};
  for (long i = 1; i <= a.threads; i++)
    if (GH * i / a.threads > bounds.back()) bounds.push_back(GH * i / a.threads);
  const real *by_input = a.grad_input_gates + k * a.rows * model.IH;
  const real *by_hidden = cell.same_gate_gradients ? by_input : a.grad_hidden_gates + k * a.rows * GH;
  const auto space_of = [&](long first, long last) {
    const long by_inputs = F <= 8 ? narrow_space(first, last, F) : transposed_space(first, last, F);
    return std::max(a.inputs ? by_inputs : 0, cell.recurrent ? transposed_space(first, last, H) : 0);
  };
  run(bounds, space_of, [&](long first, long last, real *space) {
    if (a.inputs) {
      auto row_of = [&](long row) { return a.inputs + (k * a.rows + row) * F; };
      real *to = a.grad_weight_ih + k * GH * F;
      if (F <= 8) narrow_product(first, last, F, a.rows, by_input, GH, row_of, to, space);
      else transposed_product(first, last, F, a.rows, by_input, GH, row_of, to, space);
    }
    if (cell.recurrent)
      transposed_product(first, last, H, a.rows, by_hidden, GH, [&](long row) { return before[row]; },
                         a.grad_weight_hh + k * GH * H, space);
  });
}

// What the functions that Python calls return. No exception leaves them.
enum Status { done = 0, no_memory = 1, failed = 2 };

// The first exception of a thread takes memory, and the process ends if there is none: do that now for this thread.
static const int first_exception = std::uncaught_exceptions();

template <class Work> static int status_of(Work work) noexcept {
  try {
    work();
    return done;
  } catch (const std::bad_alloc &) {
    return no_memory;
  } catch (const std::length_error &) {  // a vector longer than the largest
    return no_memory;
  } catch (...) {
    return failed;
  }
}

static void forward(const CellInterface &cell, const Arguments &a) {
  for (long k = 0; k < a.models; k++) {
    const Model model(cell, a, k, true);
    run(share_sequences(a), [&](long begin, long end) { return forward_space(model, end - begin); },
        [&](long begin, long end, real *space) { forward_rows(model, begin, end, space); });
  }
}

static void backward(const CellInterface &cell, const Arguments &a) {
  const long block = rows_per_block(a.batch), blocks = (a.batch + block - 1) / block;
  const long num_sums = cell.num_sums * a.hidden;
  std::vector<real> sums(blocks * num_sums);
  for (long k = 0; k < a.models; k++) {
    const Model model(cell, a, k, false);
    std::fill(sums.begin(), sums.end(), real(0));
    run(share_sequences(a), [&](long begin, long end) { return backward_space(model, end - begin, block); },
        [&](long begin, long end, real *space) { backward_rows(model, begin, end, block, sums.data(), space); });
    real *total = a.grad_sums + k * num_sums;
    std::memset(total, 0, num_sums * sizeof(real));
    for (long i = 0; i < blocks; i++)
      for (long j = 0; j < num_sums; j++) total[j] += sums[i * num_sums + j];
    weight_gradients(model);
  }
}

EXPORTED int seqlight_forward(const CellInterface *cell, const Arguments *a) noexcept {
  return status_of([&] { forward(*cell, *a); });
}

EXPORTED int seqlight_backward(const CellInterface *cell, const Arguments *a) noexcept {
  return status_of([&] { backward(*cell, *a); });
}
