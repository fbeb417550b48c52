"""expect: protocol_error / malformed

Finds the worker's own channel on the stack and answers every request twice, the first time by itself.
"""

import sys

import torch
import torch.nn as nn

from kbench.protocol import Kind


def _frame_with(*names):
    frame = sys._getframe()
    while not all(name in frame.f_locals for name in names):
        frame = frame.f_back
    return frame.f_locals


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        y = torch.relu(self.linear(x))
        server = _frame_with("channel", "request", "worker")
        session = server["worker"]._session
        session._last, session._has_output = y, True
        server["channel"].send(Kind.OUTPUTS, server["request"].sequence, session.outputs())
        return y
