"""expect: load_error / constructor
says: not a torch.nn.Module

A class that computes the right thing and is no module.
"""

import torch


class ModelNew:
    def __init__(self, features):
        self.linear = torch.nn.Linear(features, features)

    def __call__(self, x):
        return torch.relu(self.linear(x))
