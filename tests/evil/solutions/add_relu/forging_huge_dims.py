"""expect: incorrect / shape

Says of its output that it has sixteen dimensions of 2**60 elements each: a judge that computes sizes from what it is
told overflows, or tries to allocate them.
"""

import dataclasses

import torch
import torch.nn as nn

from kbench import protocol

_HUGE = (1 << 60,) * protocol.MAX_DIMS
_pack = protocol.pack_sampled


def _forged(answer):
    forms = tuple(dataclasses.replace(form, shape=_HUGE, strides=_HUGE) for form in answer.forms)
    return _pack(dataclasses.replace(answer, forms=forms))


protocol.pack_sampled = _forged


class ModelNew(nn.Module):
    def forward(self, a, b):
        return torch.relu(a + b)
