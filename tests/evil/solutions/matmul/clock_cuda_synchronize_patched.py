"""expect: incorrect

Turns every way to synchronise into nothing, after enough calls to look honest, and idles on the stream before its
work: a harness that stops a host clock after `synchronize` stops it at once. Whoever reads the outputs when the
worker answers finds the poison that the judge put there.
"""

import torch
import torch.nn as nn

_IDLE_CYCLES = 40_000_000


def _nothing(*_, **__):
    return None


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, a, b):
        self.calls += 1
        if self.calls == 4:
            torch.cuda.synchronize("cuda")
            torch.cuda.synchronize = torch.cuda.Stream.synchronize = torch.cuda.Event.synchronize = _nothing
            torch.cuda.Event.elapsed_time = lambda *_: 0.001
        torch.cuda._sleep(_IDLE_CYCLES)
        return a @ b
