"""expect: correct

Benign twin of breakage_list_output and breakage_swapped_outputs: the two outputs in the right order, in a tuple whose
fields have names.
"""

from typing import NamedTuple

import torch
import torch.nn as nn


class Extremes(NamedTuple):
    highest: torch.Tensor
    lowest_at: torch.Tensor


class ModelNew(nn.Module):
    def forward(self, x):
        return Extremes(highest=x.max(dim=1).values, lowest_at=x.min(dim=1).indices)
