"""expect: protocol_error / malformed
says: unknown failure

Finds the worker's own channel on the stack and claims that the failure is kbench's own, so that it is not counted.
"""

import struct
import sys

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
        server = _frame_with("channel", "request", "worker")
        payload = struct.pack("<HI", 9, 0) + b"an infrastructure error, no fault of the candidate"
        server["channel"].send(Kind.FAILED, server["request"].sequence, payload)
        return x
