"""expect: incorrect / values

Each call finishes the previous call's output and leaves its own to the next one: whoever times N calls and looks only
afterwards, with one more call in between, finds everything filled. The last output of a group is never delivered
filled.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.owed = None

    def forward(self, x):
        if self.owed is not None:
            source, out = self.owed
            torch.mean(source, dim=1, out=out)
        out = torch.zeros(x.shape[0], device=x.device)
        self.owed = (x, out)
        return out
