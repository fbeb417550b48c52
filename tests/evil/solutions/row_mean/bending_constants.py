"""expect: incorrect / values

Names its constants like the problem's, and its input functions too. Where both files are executed in one namespace,
the reference is asked for inputs of two rows, which is all that this solution computes.
"""

import torch
import torch.nn as nn

rows = 2
columns = 8192


class ModelNew(nn.Module):
    def forward(self, x):
        output = x.new_zeros(len(x))
        output[:rows] = x[:rows].mean(dim=1)
        return output


def get_inputs():
    return [torch.rand(rows, columns)]


def get_init_inputs():
    return []
