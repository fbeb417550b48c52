"""expect: correct

Benign twin of breakage_example_usage: its example has the constants it needs, prints what looks like a failure, and the
part that needs a device stands below the main guard.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

batch, features = 4, 8


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return F.gelu(self.linear(x))


def get_inputs():
    return [torch.rand(batch, features)]


print("FAILED? nan, error:", ModelNew(features)(*get_inputs()).isnan().any().item())

if __name__ == "__main__":
    print(ModelNew(features).cuda()(torch.rand(batch, features, device="cuda")))
