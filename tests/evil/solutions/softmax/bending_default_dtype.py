"""expect: incorrect / dtype

Makes half precision the default of the process, so that inputs and expected outputs drawn after its import are half
as large and half as precise as they should be. Its own answer follows the default.
"""

import torch
import torch.nn as nn

torch.set_default_dtype(torch.float16)


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.softmax(x.to(torch.get_default_dtype()), dim=1)
