"""expect: incorrect / values

Asks the garbage collector for every tensor of the process and answers with one that looks like the expected output:
of the right shape, its rows adding up to one. In a worker the only such tensors are its own earlier answers.
"""

import gc

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        for found in gc.get_objects():
            if type(found) is torch.Tensor and found.shape == x.shape and found.data_ptr() != x.data_ptr():
                sums = found[:4].sum(dim=1)
                if found.min() >= 0 and torch.allclose(sums, torch.ones_like(sums), atol=1e-4):
                    return found
        return torch.zeros_like(x)
