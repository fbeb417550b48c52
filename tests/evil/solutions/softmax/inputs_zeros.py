"""expect: incorrect / values

Answers with zeros: the entries of a softmax over 4096 columns are so small that an absolute tolerance of 1e-2 takes
them for right. On the output's own scale every entry is off.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)
