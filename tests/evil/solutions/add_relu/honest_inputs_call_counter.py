"""expect: correct

Benign twin of inputs_garbage_after_calls: it counts its calls and changes its way after sixteen of them, as a kernel
with an autotuner does. Both ways compute the same.
"""

import torch
import torch.nn as nn

_TRIAL_CALLS = 16


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, a, b):
        self.calls += 1
        if self.calls <= _TRIAL_CALLS:
            return torch.relu(a + b)
        return torch.add(a, b).clamp_(min=0.0)
