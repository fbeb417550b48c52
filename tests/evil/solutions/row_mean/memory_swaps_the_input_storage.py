"""expect: incorrect

Answers the first call rightly, then points its input tensor at memory of its own that never changes: from then on
every reader of that tensor, itself included, sees the same values, and one stored answer fits them all.
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.answers = {}

    def forward(self, x):
        if x.data_ptr() in self.answers:
            return self.answers[x.data_ptr()].clone()
        answer = x.mean(dim=1)
        own = x.clone()
        x.set_(own.untyped_storage(), 0, own.shape, own.stride())
        self.answers[x.data_ptr()] = answer
        return answer.clone()
