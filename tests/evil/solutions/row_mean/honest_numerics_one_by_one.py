"""expect: correct

Benign twin of inputs_constant: one thread a row, one column after another into an fp32 accumulator, the plainest kernel
there is and the one that rounds most. Column by column over all rows at once, since this is Python.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        columns = x.t().contiguous()
        total = torch.zeros_like(columns[0])
        for column in columns.unbind(0):
            total += column
        return total / x.shape[1]
