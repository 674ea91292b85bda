"""The states and gates of a cell and the classifier's probabilities, at every step."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from seqlight.cells.cell import GatedCell, declares_activations, has_plain_step
from seqlight.cells.regularised import RegularisedCell
from seqlight.cells.state import State, check_tensors
from seqlight.common.batch import Batch
from seqlight.common.random_state import random_state_kept
from seqlight.common.steps import step_mask
from seqlight.recurrent.layer import RecurrentLayer
from seqlight.recurrent.lengths import CheckedLengths, check_lengths, reverse_within_lengths
from seqlight.recurrent.readout import read_out
from seqlight.training.classifier import SequenceClassifier
from seqlight.training.evaluation_mode import evaluation_copy


class CellActivity(NamedTuple):
    """The activity of one layer's cell while the model reads a batch; NaN past the end of each sequence.

    Attributes:
        inputs: the inputs of the model: features (B, T, F), or tokens (B, T) with any padding.
        states: by name, (B, T, H) each: the state after step t. A reverse layer reads later steps first.
        gates: by name, (B, T, H) each: the activation of the gate in step t; empty if the cell has no gates.
        probabilities: the model's probabilities for a sequence that ends with step t, or if each step has a label, for
            step t: label 1 (B, T) for binary,
            each label (B, T, L) for multilabel, each class (B, T, C) for multiclass.
        lengths: true time steps of each sequence, (B,).
        pre_activations: whether `gates` contains pre-activations, W_ih x_t + b_ih + W_hh h_(t-1) + b_hh, because
            the cell does not define `activations`.
    """

    inputs: Float[Tensor, "batch time features"] | Int64[Tensor, "batch time"]
    states: dict[str, Float[Tensor, "batch time hidden"]]
    gates: dict[str, Float[Tensor, "batch time hidden"]]
    probabilities: Float[Tensor, "batch time *outputs"]
    lengths: Int64[Tensor, " batch"]
    pre_activations: bool


def cell_activity(model: SequenceClassifier, batch: Batch, layer: int = 0) -> CellActivity:
    """States, gates and probabilities at every step, in evaluation mode and without gradients.

    Gates have the names in the cell's `gate_names`.

    Args:
        model: the model; neither it nor the random state changes.
        batch: the sequences, on any device.
        layer: the index in `model.recurrent.layers`: with two directions layer 0 forward, layer 0 backward,
            layer 1 forward, ...

    Raises:
        ValueError: if there is no such layer, a length is not in 1..T, or the cell's `activations` does not return
            one tensor (B, H) per gate.
        TypeError: if the cell's `activations` does not return a tuple of tensors.
    """
    if not 0 <= layer < len(model.recurrent.layers):
        raise ValueError(f"layer must be between 0 and {len(model.recurrent.layers) - 1}, got {layer}")
    weight, lengths = model.head.weight, batch.lengths
    checked = check_lengths(lengths, batch.inputs)
    inputs = batch.inputs.to(weight.device, weight.dtype if batch.inputs.is_floating_point() else None)
    # A cell can draw its initial state at random.
    with evaluation_copy(model) as copy, torch.no_grad(), random_state_kept(weight.device):
        chosen: Any = copy.recurrent.layers[layer]
        layer_inputs, outputs = _run(copy, chosen, inputs, lengths)
        states, gates, pre_activations = _step_through(chosen, layer_inputs, checked)
        if copy.label_per == "step":
            probabilities = copy.results_of(copy(inputs, lengths))
        else:
            probabilities = _running_probabilities(copy, inputs, outputs, lengths)
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
        pre_activations,
    )


def _run(model: SequenceClassifier, layer: RecurrentLayer, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The inputs of the layer and the outputs of the stack."""
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
) -> tuple[dict[str, Tensor], dict[str, Tensor], bool]:
    """States and gates by name, in the layer's order of reading, and whether the gates are pre-activations."""
    cell = layer.cell
    if layer.reverse:
        inputs = reverse_within_lengths(inputs, lengths)
    state = cell.initial_state(len(inputs), device=inputs.device, dtype=inputs.dtype)
    course = [state]
    for step in inputs.split(1, 1):
        # The layer, not the cell: a layer can do more, and after one step it returns all states.
        _, state = layer(step, None, state)
        course.append(state)
    parts = [torch.stack(part, 1) for part in zip(*course, strict=True)]
    names = getattr(cell, "state_names", ())
    if len(names) != len(parts):
        names = [f"state {index}" for index in range(len(parts))]
    before = {name: part[:, :-1] for name, part in zip(names, parts, strict=True)}
    after = {name: part[:, 1:] for name, part in zip(names, parts, strict=True)}
    gated = isinstance(cell, GatedCell) and has_plain_step(cell)
    if isinstance(cell, RegularisedCell):
        # In evaluation its masks change no gate.
        cell = cell.cell
        after = {name: after[name] for name in cell.state_names}
    if not isinstance(cell, GatedCell) or not gated:
        return after, {}, False
    gates, pre_activations = _gates(cell, inputs, tuple(before[name] for name in cell.state_names))
    return after, gates, pre_activations


def _gates(cell: GatedCell, inputs: Tensor, state: State) -> tuple[dict[str, Tensor], bool]:
    """Gates (B, T, H) by name, from the states before each step (B, T, H), and whether they are pre-activations."""
    batch_and_time = inputs.shape[:2]
    input_gates = cell.project(inputs).flatten(0, 1)
    state = tuple(part.flatten(0, 1) for part in state)
    hidden_gates = functional.linear(state[0], cell.weight_hh, cell.bias_hh) if cell.recurrent else input_gates[:, :0]
    declared = declares_activations(cell)
    if declared:
        gates = cell.activations(input_gates, hidden_gates, state)
        check_tensors(cell, "activations()", gates, len(input_gates), cell.num_gates, cell.gate_names)
    else:
        gates = (input_gates + hidden_gates if cell.recurrent else input_gates).chunk(cell.num_gates, -1)
    names = cell.gate_names or [f"gate {gate}" for gate in range(cell.num_gates)]
    return {name: gate.unflatten(0, batch_and_time) for name, gate in zip(names, gates, strict=True)}, not declared


def _running_probabilities(model: SequenceClassifier, inputs: Tensor, outputs: Tensor, lengths: Tensor) -> Tensor:
    """The probabilities after each step, (B, T, ...)."""
    num_steps = inputs.shape[1]
    if model.recurrent.num_directions == 1:
        summaries = [read_out(model.readout, outputs[:, : step + 1], None, 1) for step in range(num_steps)]
        logits = model.head(torch.stack(summaries, 1))
        return model.results_of(logits.squeeze(-1) if model.target == "binary" else logits)
    # A backward layer starts at the end, so each prefix of a sequence needs its own run.
    ends = torch.arange(1, num_steps + 1)
    return torch.stack(
        [
            model.results_of(model(sequence.expand(num_steps, *sequence.shape), ends.clamp(max=length)))
            for sequence, length in zip(inputs, lengths.cpu(), strict=True)
        ]
    )
