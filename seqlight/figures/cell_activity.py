"""A cell's states and gates, and what the classifier makes of them, at every step."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from seqlight.cells.cell import GatedCell, has_plain_step
from seqlight.cells.regularised import RegularisedCell
from seqlight.common.batch import Batch
from seqlight.figures.cell_gates import gate_activations, pre_activations
from seqlight.kernels.expressions import UnsupportedUpdateError
from seqlight.recurrent.layer import RecurrentLayer
from seqlight.recurrent.lengths import CheckedLengths, check_lengths, reverse_within_lengths, step_mask
from seqlight.recurrent.readout import read_out
from seqlight.training.classifier import SequenceClassifier
from seqlight.training.metrics import to_probabilities


class CellActivity(NamedTuple):
    """What happens in one layer's cell while the model reads sequences; NaN past their ends.

    Attributes:
        inputs: the model's: features (B, T, F), or tokens (B, T), padded with anything.
        states: by name, (B, T, H) each: the state when the cell has read step t. A reverse layer reads the
            later steps before it.
        gates: by name, (B, T, H) each: the activation of each gate in step t; none if the cell has no gates.
        probabilities: what the model says of a sequence that ends with step t: of label 1 (B, T) for binary, of
            each label (B, T, L) for multilabel, of each class (B, T, C) for multiclass.
        lengths: true time steps of each sequence, (B,).
        untraced: why `gates` holds pre-activations, W_ih x_t + b_ih + W_hh h_(t-1) + b_hh; None if it does not.
    """

    inputs: Float[Tensor, "batch time features"] | Int64[Tensor, "batch time"]
    states: dict[str, Float[Tensor, "batch time hidden"]]
    gates: dict[str, Float[Tensor, "batch time hidden"]]
    probabilities: Float[Tensor, "batch time *outputs"]
    lengths: Int64[Tensor, " batch"]
    untraced: str | None


def cell_activity(model: SequenceClassifier, batch: Batch, layer: int = 0) -> CellActivity:
    """States, gate activations and probabilities at every step, in evaluation mode and without gradients.

    Gates are named by the cell's `gate_names`.

    Args:
        model: whose cell it is.
        batch: the sequences, on any device.
        layer: the index in `model.recurrent.layers`: with two directions layer 0 forward, layer 0 backward,
            layer 1 forward, ...

    Raises:
        ValueError: if there is no such layer, or a length is not in 1..T.
    """
    if not 0 <= layer < len(model.recurrent.layers):
        raise ValueError(f"layer must be between 0 and {len(model.recurrent.layers) - 1}, got {layer}")
    chosen = model.recurrent.layers[layer]
    assert isinstance(chosen, RecurrentLayer)
    weight, lengths = model.head.weight, batch.lengths
    checked = check_lengths(lengths, batch.inputs)
    inputs = batch.inputs.to(weight.device, weight.dtype if batch.inputs.is_floating_point() else None)
    was_training = model.training
    model.eval()
    try:
        # A cell may draw its initial state.
        with torch.no_grad(), torch.random.fork_rng([weight.device] if weight.is_cuda else []):
            layer_inputs, outputs = _run(model, chosen, inputs, checked)
            states, gates, untraced = _step_through(chosen, layer_inputs, checked)
            probabilities = _running_probabilities(model, inputs, outputs, lengths)
    finally:
        model.train(was_training)
    past_end = ~step_mask(lengths, inputs.shape[1], inputs.device)

    def blank(value: Tensor) -> Tensor:
        return value.masked_fill(past_end if value.ndim == 2 else past_end[:, :, None], torch.nan)

    def in_true_time(value: Tensor) -> Tensor:
        return blank(reverse_within_lengths(value, checked) if chosen.reverse else value)

    return CellActivity(
        blank(inputs) if inputs.is_floating_point() else inputs,
        {name: in_true_time(state) for name, state in states.items()},
        {name: in_true_time(gate) for name, gate in gates.items()},
        blank(probabilities),
        lengths,
        untraced,
    )


def _run(
    model: SequenceClassifier, layer: RecurrentLayer, inputs: Tensor, lengths: CheckedLengths | None
) -> tuple[Tensor, Tensor]:
    """What the layer reads, and what the stack gives."""
    seen: list[Tensor] = []
    hooks = (
        layer.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0])),
        model.recurrent.register_forward_hook(lambda _, arguments, result: seen.append(result[0])),
    )
    try:
        model(inputs, lengths)
    finally:
        for hook in hooks:
            hook.remove()
    layer_inputs, outputs = seen
    return layer_inputs, outputs


def _step_through(
    layer: RecurrentLayer, inputs: Tensor, lengths: CheckedLengths | None
) -> tuple[dict[str, Tensor], dict[str, Tensor], str | None]:
    """States and gates by name, in the order in which the layer reads; and why there are no activations."""
    cell = layer.cell
    if layer.reverse:
        inputs = reverse_within_lengths(inputs, lengths)
    state = cell.initial_state(len(inputs), device=inputs.device, dtype=inputs.dtype)
    course = [state]
    for now in inputs.split(1, 1):
        # The layer and not the cell: it may do more, and after one step it gives all states.
        _, state = layer(now, None, state)
        course.append(state)
    parts = [torch.stack(part, 1) for part in zip(*course, strict=True)]
    before, after = tuple(part[:, :-1] for part in parts), [part[:, 1:] for part in parts]
    names = getattr(cell, "state_names", ())
    if len(names) != len(after):
        names = [f"state {index}" for index in range(len(after))]
    states = dict(zip(names, after, strict=True))
    if isinstance(cell, RegularisedCell):  # its masks are of no interest here
        states = {name: states[name] for name in cell.cell.state_names}
    if not isinstance(cell, GatedCell) or not has_plain_step(cell):
        return states, {}, None

    names = cell.gate_names or [f"gate {gate}" for gate in range(cell.num_gates)]
    input_gates = cell.project(inputs)
    hidden_gates = (
        functional.linear(before[0], cell.weight_hh, cell.bias_hh) if cell.recurrent else input_gates[..., :0]
    )
    untraced = None
    try:
        gates = gate_activations(cell, input_gates, hidden_gates, before)
    except UnsupportedUpdateError as error:
        gates, untraced = pre_activations(cell, input_gates, hidden_gates), str(error)
    return states, dict(zip(names, gates, strict=True)), untraced


def _running_probabilities(model: SequenceClassifier, inputs: Tensor, outputs: Tensor, lengths: Tensor) -> Tensor:
    num_steps = inputs.shape[1]
    if model.recurrent.num_directions == 1:
        summaries = [read_out(model.readout, outputs[:, : step + 1], None, 1) for step in range(num_steps)]
        logits = model.head(torch.stack(summaries, 1))
        return to_probabilities(logits.squeeze(-1) if model.target == "binary" else logits, model.target)
    # Backwards, a sequence that ends sooner is another one from its first step on.
    ends = torch.arange(1, num_steps + 1)
    return torch.stack(
        [
            to_probabilities(model(sequence.expand(num_steps, *sequence.shape), ends.clamp(max=length)), model.target)
            for sequence, length in zip(inputs, lengths.cpu(), strict=True)
        ]
    )
