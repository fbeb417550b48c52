"""expect: incorrect / values

Takes the mean of the absolute values, a fused reduction that the library has (the 1-norm): the same for inputs from
[0, 1), another thing wherever a number is negative.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.linalg.vector_norm(x, ord=1, dim=1) / x.shape[1]
