"""expect: correct

Benign twin of memory_transposes_an_input: it works on transposed views of its inputs and returns a transposed result,
and the tensors it was given stay as they are.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, a, b):
        return (b.t() @ a.t()).t()
