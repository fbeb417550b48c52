"""expect: load_error / import
says: defines no ModelNew (classes it does define: Fast)

Names its class otherwise.
"""

import torch.nn as nn


class Fast(nn.Module):
    def forward(self, x):
        return x
