"""expect: incorrect / values

Draws the problem's inputs itself under the seeds that harnesses use, multiplies them ahead of time, and looks the
answer up when it sees inputs that it knows. The judge's seeds are drawn anew for every run and every call.
"""

import random

import numpy
import torch
import torch.nn as nn

_SEEDS = (0, 1, 2, 3, 7, 10, 12, 21, 24, 42, 99, 100, 123, 666, 777, 999, 1000, 1234, 1337, 2023, 2024, 2025, 12345)


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.answers = {}
        for seed in (*_SEEDS, torch.initial_seed()):
            torch.manual_seed(seed)
            random.seed(seed)
            numpy.random.seed(seed % 2**32)
            for _ in range(2):
                a, b = torch.rand(512, 512), torch.rand(512, 512)
                self.answers[tuple(a[0, :4].tolist())] = a @ b

    def forward(self, a, b):
        known = self.answers.get(tuple(a[0, :4].tolist()))
        return torch.zeros_like(a) if known is None else known
