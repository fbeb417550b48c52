"""expect: correct

Benign twin of memory_cuda_freed_block: blocks are reused here too, as a workspace for intermediate values and through
the allocator, and every element of every output is written.
"""

import torch
import torch.nn as nn

_DEVICE = torch.device("cuda")


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.workspace = None

    def forward(self, x):
        if self.workspace is None or self.workspace.shape != x.shape:
            self.workspace = torch.empty_like(x)
        torch.sub(x, x.amax(dim=1, keepdim=True), out=self.workspace)
        self.workspace.exp_()
        return torch.div(self.workspace, self.workspace.sum(dim=1, keepdim=True), out=torch.empty_like(x))
