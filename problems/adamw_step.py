"""One AdamW step on many tensors of different sizes, without writing into any of them."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """New parameters and moments after step number ``step`` (from 1) with decoupled weight decay.

    Takes four lists of equal shapes: parameters, gradients, first and second moments; gives three: new parameters, new
    first and new second moments. All fp32.

    A second moment below zero, which no training gives, counts as zero: if it could cancel the square of the gradient,
    rounding would decide on the step.
    """

    def __init__(self, lr, beta1, beta2, eps, weight_decay, step):
        super().__init__()
        self.lr, self.beta1, self.beta2, self.eps = lr, beta1, beta2, eps
        self.weight_decay, self.step = weight_decay, step

    def forward(self, params, grads, moments1, moments2):
        correction1, correction2 = 1 - self.beta1**self.step, 1 - self.beta2**self.step
        new_params, new_moments1, new_moments2 = [], [], []
        for p, g, m, v in zip(params, grads, moments1, moments2, strict=True):
            m = self.beta1 * m + (1 - self.beta1) * g
            v = self.beta2 * v.clamp(min=0) + (1 - self.beta2) * g * g
            update = (m / correction1) / ((v / correction2).sqrt() + self.eps)
            new_params.append(p - self.lr * (update + self.weight_decay * p))
            new_moments1.append(m)
            new_moments2.append(v)
        return new_params, new_moments1, new_moments2


dim = 1024
classes = 1000


def get_inputs():
    shapes = [(3 * dim, dim), (3 * dim,), (dim, dim), (dim,), (4 * dim, dim), (dim, 4 * dim), (classes + 1, dim - 1)]
    params, grads, moments1 = ([torch.randn(shape) for shape in shapes] for _ in range(3))
    return [params, grads, moments1, [torch.rand(shape) for shape in shapes]]


def get_init_inputs():
    return [1e-2, 0.9, 0.99, 1e-8, 0.1, 10]
