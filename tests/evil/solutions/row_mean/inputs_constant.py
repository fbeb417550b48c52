"""expect: incorrect / values

The mean of 8192 uniform numbers is one half, to within a hundredth: so it answers one half and reads nothing. The
budget is a share of the output's own spread, not of its size.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        return x.new_full((x.shape[0],), 0.5)
