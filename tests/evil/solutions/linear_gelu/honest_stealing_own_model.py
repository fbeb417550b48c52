"""expect: correct

Benign twin of stealing_subclasses_model: it defines a Model of its own, like the reference's, keeps `get_inputs` for
trying it out, and derives ModelNew from it. Nothing is taken from anywhere: the base class stands in this file.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return F.gelu(self.linear(x))


class ModelNew(Model):
    def forward(self, x):
        return F.gelu(torch.addmm(self.linear.bias, x, self.linear.weight.t()))


def get_inputs():
    return [torch.rand(256, 512)]


def get_init_inputs():
    return [512]


if __name__ == "__main__":
    print(ModelNew(*get_init_inputs())(*get_inputs()).shape)
