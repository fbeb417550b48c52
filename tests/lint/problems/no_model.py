"""expect: file

Forgot its Model.
"""

import torch


def get_inputs():
    return [torch.randn(64, 96)]


def get_init_inputs():
    return []
