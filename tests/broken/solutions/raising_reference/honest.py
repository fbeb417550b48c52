"""expect: infra_error / problem
says: this reference never worked

An honest solution of a problem that cannot be judged: ours to answer for, not the candidate's.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        return x
