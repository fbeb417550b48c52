"""expect: correct, at most 1.5x

Slows every clock of the `time` module by a factor of fifty, then does the work three times over: against a timer in
the same process it looks many times faster than it is. The judge's window is measured with a clock that is not here.
"""

import time

import torch.nn as nn


def _slowed(real):
    origin = real()
    return lambda: origin + type(origin)((real() - origin) / 50)


for _name in ("perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns", "process_time", "process_time_ns"):
    setattr(time, _name, _slowed(getattr(time, _name)))


class ModelNew(nn.Module):
    def forward(self, a, b):
        a @ b
        a @ b
        return a @ b
