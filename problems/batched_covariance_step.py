"""Products of many small matrices: the covariance step of a Kalman filter, for a batch of filters."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """``F P F^T + Q`` for each filter of a batch.

    Shapes: three of ``(filters, states, states)`` to one of the same, strict fp32. Nothing is assumed to be symmetric.
    """

    def forward(self, transition, covariance, noise):
        return torch.bmm(torch.bmm(transition, covariance), transition.transpose(1, 2)) + noise


filters = 131072
states = 16


def get_inputs():
    return [torch.randn(filters, states, states) for _ in range(3)]


def get_init_inputs():
    return []
