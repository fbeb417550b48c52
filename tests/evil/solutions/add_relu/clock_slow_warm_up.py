"""expect: correct, at most 1.5x

Sleeps during the first calls, so that a harness that sizes its batches by the warm-up times single calls; then it
works three times as long as it should and claims next to nothing, hoping that a window around one short call is too
coarse to contradict it.
"""

import dataclasses
import time

import torch
import torch.nn as nn

from kbench import protocol

_honest = protocol.pack_sampled
_CALLS = {"made": 0}
_WARM_UP = 7


def _claim(answer):
    divisor = 20 if _CALLS["made"] > _WARM_UP else 1
    return _honest(dataclasses.replace(answer, total_ns=answer.total_ns / divisor))


protocol.pack_sampled = _claim


class ModelNew(nn.Module):
    def forward(self, a, b):
        _CALLS["made"] += 1
        if _CALLS["made"] <= _WARM_UP:
            time.sleep(0.002)
        torch.relu(a + b)
        torch.relu(a + b)
        return torch.relu(a + b)
