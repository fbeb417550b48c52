"""expect: correct

Benign twin of memory_answer_over_the_input: everything happens in place, on a copy of the input.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        own = x.clone()
        own.sub_(own.amax(dim=1, keepdim=True)).exp_()
        return own.div_(own.sum(dim=1, keepdim=True))
