"""expect: correct

Benign twin of memo_by_sampled_elements: it returns a remembered answer only where the whole input equals, element by
element, a private copy of the one it was computed from.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.known = None

    def forward(self, x):
        if self.known is None or not torch.equal(x, self.known[0]):
            self.known = x.clone(), x.mean(dim=1)
        return self.known[1].clone()
