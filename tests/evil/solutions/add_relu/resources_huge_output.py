"""expect: incorrect / shape

Answers with a tensor of four terabytes that takes four bytes itself: whoever copies it out needs the rest.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, a, b):
        return a.new_zeros(1).expand(1 << 40)
