"""expect: incorrect

Leaves the ReLU out on a tenth of all inputs, chosen by their own bits. A harness that checks five calls accepts it with
probability 0.59; n independent verified inputs, judged or timed, miss it with probability 0.9^n: 0.21 for 15, 0.01 for
44. A call takes microseconds, so a replicate times thousands, and with 5% of those verified the chance is nil. Which
phase finds it depends on the inputs.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, a, b):
        total = a + b
        if int(a[0, :8].contiguous().view(torch.int32).long().sum()) % 10 == 0:
            return total
        return torch.relu(total)
