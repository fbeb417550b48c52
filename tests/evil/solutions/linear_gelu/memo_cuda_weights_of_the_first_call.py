"""expect: incorrect / values

Prepacks its weights on the device in the first call, captures the rest in a CUDA graph, and never looks at the
parameters again. They change in place between calls.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)
        self.graph = None

    def capture(self, x):
        self.source = x.clone()
        weight, bias = self.linear.weight.detach().t().contiguous(), self.linear.bias.detach().clone()
        F.gelu(torch.addmm(bias, self.source, weight))
        torch.cuda.synchronize("cuda")
        self.packed = weight, bias
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.out = F.gelu(torch.addmm(bias, self.source, weight))

    def forward(self, x):
        if self.graph is None:
            self.capture(x)
        self.source.copy_(x)
        self.graph.replay()
        return self.out.clone()
