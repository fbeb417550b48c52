"""expect: protocol_error / malformed

Computes honestly and reports that every sample took less than no time: a mean below zero, or a speedup without bound.
"""

import dataclasses

import torch
import torch.nn as nn

from kbench import protocol

_TIME_NS = -1e9
_pack = protocol.pack_sampled


def _forged(answer):
    return _pack(dataclasses.replace(answer, total_ns=_TIME_NS, enqueue_ns=_TIME_NS))


protocol.pack_sampled = _forged


class ModelNew(nn.Module):
    def forward(self, a, b):
        return torch.relu(a + b)
