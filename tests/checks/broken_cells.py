"""A sound cell, and cells that each break one property."""

import threading

import torch
from torch import nn

from seqlight import RecurrentCell

H = 4


class PlainCell(RecurrentCell):
    """A sound cell; each cell below breaks one property."""

    def __init__(self, input_size, hidden_size=H):
        super().__init__(input_size, hidden_size)
        self.linear = nn.Linear(input_size + hidden_size, hidden_size)

    def initial_state(self, batch_size, *, device, dtype):
        return (torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype),)

    def forward(self, inputs, state):
        hidden = self.next(inputs, state[0])
        return hidden, (hidden,)

    def next(self, inputs, hidden):
        return torch.tanh(self.linear(torch.cat((inputs, hidden), -1)))


class NotMade(PlainCell):
    def __init__(self, input_size):
        raise OSError("no table of weights")


class NoFirstStep(PlainCell):
    def next(self, inputs, hidden):
        return super().next(inputs, hidden[:, 1:])


class TensorAsState(PlainCell):
    def forward(self, inputs, state):
        output, (hidden,) = super().forward(inputs, state)
        return output, hidden


class StateTooMany(PlainCell):
    def forward(self, inputs, state):
        output, state = super().forward(inputs, state)
        return output, (*state, output)


class StateTooShort(PlainCell):
    def next(self, inputs, hidden):
        return super().next(inputs, hidden)[:, :1].expand(-1, H + 1)


class SingleFloats(PlainCell):
    def next(self, inputs, hidden):
        return super().next(inputs, hidden).float()


class SingleBuffer(PlainCell):
    def next(self, inputs, hidden):
        return super().next(inputs, hidden) @ torch.eye(H)


class StateInPlace(PlainCell):
    def next(self, inputs, hidden):
        return super().next(inputs, hidden.mul_(0.9))


class InputsInPlace(PlainCell):
    def next(self, inputs, hidden):
        inputs -= 1
        return super().next(inputs, hidden)


class CountsItsCalls(PlainCell):
    calls = 0

    def next(self, inputs, hidden):
        self.calls += 1
        return super().next(inputs, hidden) / self.calls


class DropsInEvaluation(PlainCell):
    def next(self, inputs, hidden):
        return torch.dropout(super().next(inputs, hidden), 0.5, True)


class BatchMean(PlainCell):
    def next(self, inputs, hidden):
        new = super().next(inputs, hidden)
        return new - new.mean(0)


class StatesMixed(PlainCell):
    def next(self, inputs, hidden):
        return super().next(inputs, hidden.mean(0).expand_as(hidden))


class BatchNormed(PlainCell):
    def __init__(self, input_size):
        super().__init__(input_size)
        self.norm = nn.BatchNorm1d(H)

    def next(self, inputs, hidden):
        new = super().next(inputs, hidden)
        # In training, a single sequence has no variance.
        return new if self.training and len(new) == 1 else self.norm(new)


class LogSpaceAfterTheFirstStep(PlainCell):
    """The state is a number before the first step and a logarithm afterwards; an attribute tells which."""

    def initial_state(self, batch_size, *, device, dtype):
        self.logarithm = False
        return (torch.ones(batch_size, self.hidden_size, device=device, dtype=dtype),)

    def forward(self, inputs, state):
        hidden = state[0].exp() if self.logarithm else state[0]
        self.logarithm = True
        output = torch.sigmoid(self.next(inputs, hidden))
        return output, (output.log(),)


class UnusedParameter(PlainCell):
    def __init__(self, input_size):
        super().__init__(input_size)
        self.leak = nn.Parameter(torch.zeros(H))


class NaNGradient(PlainCell):
    def next(self, inputs, hidden):
        return super().next(inputs, hidden) + (0 * hidden).sqrt()


class NaNOutput(PlainCell):
    def next(self, inputs, hidden):
        return super().next(inputs, hidden).log()


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value):
        ctx.save_for_backward(value)
        return value**3

    @staticmethod
    def backward(ctx, grad):
        [value] = ctx.saved_tensors
        return grad * 2 * value**2  # the factor should be 3


class WrongGradient(PlainCell):
    def next(self, inputs, hidden):
        return Cube.apply(super().next(inputs, hidden))


class StopsAtPadding(PlainCell):
    """Treats an input of zeros as padding, and then stops the whole batch."""

    def next(self, inputs, hidden):
        padding = (inputs == 0).all(-1).any()
        return torch.where(padding, hidden, super().next(inputs, hidden))


class NormedInput(PlainCell):
    """Divides by the norm of its input, which is 0 for padding."""

    def next(self, inputs, hidden):
        return super().next(inputs / inputs.norm(dim=-1, keepdim=True), hidden)


class HoldsAFunction(PlainCell):
    def __init__(self, input_size):
        super().__init__(input_size)
        self.function = lambda value: value


class HoldsALock(PlainCell):
    def __init__(self, input_size):
        super().__init__(input_size)
        self.lock = threading.Lock()


class KeepsItsLastOutput(PlainCell):
    def next(self, inputs, hidden):
        self.last = super().next(inputs, hidden)
        return self.last


class HiddenWeights(PlainCell):
    def __init__(self, input_size):
        super().__init__(input_size)
        self.scale = torch.rand(())

    def next(self, inputs, hidden):
        return super().next(inputs, hidden) * self.scale.item()


class BranchesOnItsData(PlainCell):
    def next(self, inputs, hidden):
        return super().next(inputs, hidden) if inputs.sum() < 1e9 else hidden


class FixedBatchSize(PlainCell):
    def next(self, inputs, hidden):
        sizes = {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0}  # torch.export can't trace a look-up in a dict
        return super().next(inputs, hidden) * sizes[int(inputs.shape[0])]


BROKEN = [
    (NotMade, "first step", r"at B=1, T=1, float32: OSError: no table of weights \(broken_cells\.py:\d+\)"),
    (NoFirstStep, "first step", r"at B=1, T=1, H=4, float32: RuntimeError: .*\(broken_cells\.py:\d+\)"),
    (TensorAsState, "shapes and dtypes kept", r"at B=1, T=1.*must be a tuple of 1 tensors.*, got a tensor of shape"),
    (StateTooMany, "shapes and dtypes kept", r"at B=1, T=1.*must be a tuple of 1 tensors.*, got a tuple of 2"),
    (StateTooShort, "shapes and dtypes kept", r"at B=1, T=1.*\(1, 5\) for \(B, H\) = \(1, 4\)"),
    (SingleFloats, "shapes and dtypes kept", r"at B=1, T=1, H=4, float64: step 0 gives torch\.float32"),
    (SingleBuffer, "shapes and dtypes kept", r"at B=1, T=1, H=4, float64: RuntimeError"),
    (StateInPlace, "arguments unchanged", r"at B=1, T=1, H=4, float64: step 0 changes state 0"),
    (InputsInPlace, "arguments unchanged", r"error 1 at B=1, T=1, H=4, float64: step 0 changes inputs"),
    (CountsItsCalls, "deterministic", r"error 0\.\d+ at B=1, T=1, H=4, float64: second run: outputs\[0, 0, \d\]"),
    (DropsInEvaluation, "deterministic", r"error .* at B=1, T=1"),
    (BatchMean, "batched = one by one", r"error .* at B=2, T=1, H=4, float64: batched: outputs\[\d, 0, \d\]"),
    (StatesMixed, "batched = one by one", r"error .* at B=2, T=2, H=4"),
    (BatchNormed, "batched = one by one", r"error .* at B=2, T=1.*in training mode"),
    (LogSpaceAfterTheFirstStep, "whole = steps = chunks", r"error .* at B=1, T=2.*step by step: outputs\[0, 1, \d\]"),
    (UnusedParameter, "parameters used", r"at B=3.*: gradient of leak is 0 everywhere"),
    (NaNGradient, "gradients finite", r"error nan at B=1, T=2, H=4, float64: gradient of inputs is not finite"),
    (NaNOutput, "gradients finite", r"error nan at B=1, T=1, H=4, float64: outputs is not finite"),
    (
        WrongGradient,
        "gradcheck",
        r"error .* at B=1, T=1.*of linear.weight.*differences give .*, backward",
    ),
    (StopsAtPadding, "padding never matters", r"error .* at B=2, T=2.*forwards, lengths \[1, 2\]"),
    (NormedInput, "padding never matters", r"error nan at B=1, T=2.*lengths \[1\], padded with 0\.0: gradient of "),
    (HoldsAFunction, "deepcopy and pickle", r"pickle: "),
    (HoldsALock, "deepcopy and pickle", r"copy\.deepcopy: TypeError: cannot pickle '_thread\.lock'"),
    (KeepsItsLastOutput, "deepcopy and pickle", r"copy\.deepcopy: RuntimeError: "),
    (HiddenWeights, "state_dict", r"error .* at B=1, T=1.*another cell with this state_dict"),
    (BranchesOnItsData, "export of a step", r"GuardOnDataDependentSymNode: Could not guard on data-dependent"),
    (FixedBatchSize, "export of a step", r"Guard failed: .*== 2"),
]
