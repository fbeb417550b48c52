"""expect: correct

Benign twin of resources_memory_bomb: a split-K product with a workspace of a hundred times the output's size, all of
it touched, well below any limit.
"""

import torch
import torch.nn as nn

_PARTS = 4
_WORKSPACE_BYTES = 96 << 20


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.workspace = None

    def forward(self, a, b):
        if self.workspace is None or self.workspace.device != a.device:
            self.workspace = torch.zeros(_WORKSPACE_BYTES // 4, device=a.device)
        rows, columns = a.shape[0], b.shape[1]
        partial = self.workspace[: _PARTS * rows * columns].view(_PARTS, rows, columns)
        left = a.view(rows, _PARTS, -1).transpose(0, 1)
        torch.bmm(left, b.view(_PARTS, -1, columns), out=partial)
        return partial.sum(dim=0)
