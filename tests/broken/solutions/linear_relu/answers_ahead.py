"""expect: protocol_error / malformed

Finds the worker's own channel on the stack and answers requests that nobody has made yet.
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
        server = _frame_with("channel", "request", "worker")
        for ahead in range(50):
            server["channel"].send(Kind.DONE, server["request"].sequence + ahead)
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return torch.relu(self.linear(x))
