"""expect: timeout / call

Leaves a kernel on the device that spins for days: the host waits for it, the process cannot be asked to stop, and
whoever uses the device next waits as well, until the process is killed.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, a, b):
        torch.cuda._sleep(1 << 55)
        return torch.relu(a + b)
