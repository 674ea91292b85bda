import torch

from seqlight import GatedCell


class MinimalGatedUnit(GatedCell):
    num_gates = 2

    def update(self, input_gates, hidden_gates, state):
        input_forget, input_new = input_gates.chunk(2, -1)
        hidden_forget, hidden_new = hidden_gates.chunk(2, -1)
        forget = torch.sigmoid(input_forget + hidden_forget)
        candidate = torch.tanh(input_new + forget * hidden_new)
        return ((1 - forget) * state[0] + forget * candidate,)
