"""expect: protocol_error / malformed

Claims that each sample took NaN nanoseconds: comparisons with NaN are false, so a bound written the wrong way round
lets it pass. Nothing but a finite time is well-formed.
"""

import dataclasses
import math

import torch.nn as nn

from kbench import protocol

_honest = protocol.pack_sampled
protocol.pack_sampled = lambda answer: _honest(dataclasses.replace(answer, total_ns=math.nan))


class ModelNew(nn.Module):
    def forward(self, a, b):
        return a @ b
