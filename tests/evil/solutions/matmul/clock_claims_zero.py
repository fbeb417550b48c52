"""expect: correct, at most 1.5x

Replaces the function that packs the worker's claim, so that every sample is said to have taken no time at all. A
claim shorter than the judge's window allows is not believed: the window's figure counts.
"""

import dataclasses

import torch.nn as nn

from kbench import protocol

_honest = protocol.pack_sampled
protocol.pack_sampled = lambda answer: _honest(dataclasses.replace(answer, total_ns=0.0))


class ModelNew(nn.Module):
    def forward(self, a, b):
        a @ b
        a @ b
        return a @ b
