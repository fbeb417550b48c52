"""expect: correct, at most 1.5x

Claims a plausible tenth of what each sample took, with its own honest scatter, so that no claim looks odd by itself.
The median over the side's windows leaves far more time than was claimed, so the windows count.
"""

import dataclasses

import torch.nn as nn

from kbench import protocol

_honest = protocol.pack_sampled
protocol.pack_sampled = lambda answer: _honest(dataclasses.replace(answer, total_ns=answer.total_ns / 10))


class ModelNew(nn.Module):
    def forward(self, a, b):
        a @ b
        a @ b
        return a @ b
