"""expect: load_error / import
says: No module named 'quite_certainly_not_installed'

Needs a package that is not there.
"""

import quite_certainly_not_installed  # <- here
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        return quite_certainly_not_installed.run(x)
