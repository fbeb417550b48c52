"""expect: incorrect / values

Draws in its constructor the inputs that a harness with a fixed seed will draw, multiplies them there, and hands out
the product when asked. The seeds of the inputs are the judge's secret, and construction has a seed of its own.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.answers = []
        for seed in (0, 42, 1234, 1337):
            torch.manual_seed(seed)
            self.answers.append(torch.rand(512, 512) @ torch.rand(512, 512))

    def forward(self, a, b):
        return self.answers[0].to(a.device, copy=True)
