"""expect: incorrect / values

Captures its work on a copy of the first inputs and replays that graph ever after, a real launch of real kernels on
yesterday's numbers. The inputs are new in every call.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.graph = None

    def capture(self, x):
        self.source = x.clone()
        self.source.mean(dim=1)
        torch.cuda.synchronize("cuda")
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.out = self.source.mean(dim=1)

    def forward(self, x):
        if self.graph is None:
            self.capture(x)
        self.graph.replay()
        return self.out.clone()
