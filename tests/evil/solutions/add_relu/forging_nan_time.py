"""expect: protocol_error / malformed

Computes honestly and reports NaN as its time: no comparison with a bound is true of it, so no bound rejects it.
"""

import dataclasses

import torch
import torch.nn as nn

from kbench import protocol

_TIME_NS = float("nan")
_pack = protocol.pack_sampled


def _forged(answer):
    return _pack(dataclasses.replace(answer, total_ns=_TIME_NS, enqueue_ns=_TIME_NS))


protocol.pack_sampled = _forged


class ModelNew(nn.Module):
    def forward(self, a, b):
        return torch.relu(a + b)
