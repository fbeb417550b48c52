"""Kullback-Leibler divergence between a teacher's and a student's predictions, averaged over all tokens."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    """``sum p (log p - log q) * t^2 / tokens``, with ``p`` and ``q`` the softmax of teacher and student at
    temperature ``t``.

    Shapes: two of ``(tokens, vocabulary)``, fp32, student first, to a scalar.
    """

    def __init__(self, temperature):
        super().__init__()
        self.temperature = temperature

    def forward(self, student, teacher):
        log_q = F.log_softmax(student / self.temperature, dim=-1)
        log_p = F.log_softmax(teacher / self.temperature, dim=-1)
        return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True) * self.temperature**2


tokens = 2048
vocabulary = 32000
temperature = 2.0
spread = 3.0


def get_inputs():
    return [spread * torch.randn(tokens, vocabulary), spread * torch.randn(tokens, vocabulary)]


def get_init_inputs():
    return [temperature]
