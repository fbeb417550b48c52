"""expect: protocol_error | runtime_error

Finds the worker's own channel on the stack and claims that the failure is the judge's, so that it is not counted.
"""

import sys

import torch.nn as nn

from kbench.protocol import Failure, Kind, pack_failed


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
        server = _frame_with("channel", "request", "worker")
        payload = pack_failed(Failure.SETUP, 0, "no fault of mine")
        server["channel"].send(Kind.FAILED, server["request"].sequence, payload)
        return x
