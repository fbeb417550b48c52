"""expect: correct

Benign twin of bending_cuda_tf32_flags: the same switch, in a problem that declares the tf32 class.
"""

import torch
import torch.nn as nn

torch.backends.cuda.matmul.allow_tf32 = True


class ModelNew(nn.Module):
    def forward(self, a, b):
        return a @ b
