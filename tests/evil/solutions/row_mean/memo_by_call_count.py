"""expect: incorrect

Honest for as many calls as a check might make; from then on it plays back the answers of its first calls in turn.
Checks and timings look the same from inside, and any timed call may be checked.
"""

import torch.nn as nn

_HONEST_CALLS = 12


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.answers = []
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls <= _HONEST_CALLS:
            self.answers.append(x.mean(dim=1))
        return self.answers[self.calls % len(self.answers)].clone() if self.calls > _HONEST_CALLS else self.answers[-1]
