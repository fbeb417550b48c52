"""expect: correct

Benign twin of numerics_sampled_mean: Kahan's compensated sum, a strip of columns at a time. Compensation makes NaN of
an infinite sum (infinity less infinity), so where it did, the plain sum answers.
"""

import torch
import torch.nn as nn

_STRIPS = 128


class ModelNew(nn.Module):
    def forward(self, x):
        strips = x.unflatten(1, (_STRIPS, -1))
        total = torch.zeros_like(strips[:, 0])
        lost = torch.zeros_like(total)
        for strip in strips.unbind(1):
            corrected = strip - lost
            raised = total + corrected
            lost = (raised - total) - corrected
            total = raised
        sums = (total - lost).sum(dim=1)
        return torch.where(sums.isfinite(), sums, x.sum(dim=1)) / x.shape[1]
