"""Batch normalisation in train mode: batch statistics, and running statistics that every forward updates."""

import torch
import torch.nn as nn

batch_size = 1024
features = 512


class Model(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.norm = nn.BatchNorm1d(features)

    def forward(self, x):
        return self.norm(x)


def get_inputs():
    return [torch.randn(batch_size, features) * 2 + 1]


def get_init_inputs():
    return [features]
