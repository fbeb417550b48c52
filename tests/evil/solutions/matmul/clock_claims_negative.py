"""expect: protocol_error / malformed

Claims negative times: a harness that sums or averages them would report anything. No clock goes backwards, so such a
frame is malformed.
"""

import dataclasses

import torch.nn as nn

from kbench import protocol

_honest = protocol.pack_sampled
protocol.pack_sampled = lambda answer: _honest(dataclasses.replace(answer, total_ns=-answer.total_ns))


class ModelNew(nn.Module):
    def forward(self, a, b):
        return a @ b
