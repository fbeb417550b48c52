"""Cross-entropy of logits over a large vocabulary, averaged over all tokens."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    """Mean over all rows of ``logsumexp(row) - row[target]``.

    Shapes: logits ``(tokens, vocabulary)``, fp32, and targets ``(tokens,)``, int64, to a scalar. Targets lie in
    ``[0, vocabulary)``, or are -100 for a token that does not count.
    """

    def forward(self, logits, targets):
        return F.cross_entropy(logits, targets)


tokens = 4096
vocabulary = 32000
spread = 3.0


def get_inputs():
    return [spread * torch.randn(tokens, vocabulary), torch.randint(0, vocabulary, (tokens,))]


def get_init_inputs():
    return []
