// The interface between a generated cell and the loop over time. They are separate libraries, because the loop takes
// most of the compiler's time and is the same for all cells.

#include <cstdint>

typedef REAL real;

// A function that Python finds in a library, whatever -fvisibility says.
#define EXPORTED extern "C" __attribute__((visibility("default")))

// The sizes of a cell and its elementwise steps over `rows` sequences of H units.
struct CellInterface {
  int64_t num_gates, num_input_gates, num_states, num_parameters, num_saved, num_sums;
  int64_t recurrent, same_gate_gradients;
  void (*forward)(long rows, long H, const real *input_gates, long input_row, const real *hidden_gates, long hidden_row,
                  const real *parameters, const real *before, real *after, long plane);
  void (*forward_saving)(long rows, long H, const real *input_gates, long input_row, const real *hidden_gates,
                         long hidden_row, const real *parameters, const real *before, real *after, long plane,
                         real *saved);
  // Each `block` of rows has its own sums.
  void (*backward)(long rows, long block, long H, const real *parameters, const real *before, const real *after,
                   long plane, const real *saved, const real *grad_outputs, real *by_input, real *by_hidden, real *grad,
                   long grad_row, long grad_plane, real *sums);
};

template <class Cell>
static void backward_in_blocks(long rows, long block, long H, const real *parameters, const real *before,
                               const real *after, long plane, const real *saved, const real *grad_outputs,
                               real *by_input, real *by_hidden, real *grad, long grad_row, long grad_plane,
                               real *sums) {
  for (long b = 0; b < rows; b += block, sums += Cell::num_sums * H)
    Cell::backward(rows - b < block ? rows - b : block, H, parameters, before + b * H, after + b * H, plane,
                   saved + b * Cell::num_saved * H, grad_outputs ? grad_outputs + b * H : nullptr,
                   by_input + b * Cell::num_input_gates * H, by_hidden + b * Cell::num_gates * H, grad + b * grad_row,
                   grad_row, grad_plane, sums);
}

template <class Cell> static CellInterface interface_of() {
  return {Cell::num_gates, Cell::num_input_gates, Cell::num_states, Cell::num_parameters,
          Cell::num_saved, Cell::num_sums,        Cell::recurrent,  Cell::same_gate_gradients,
          Cell::forward,   Cell::forward_saving,  backward_in_blocks<Cell>};
}
