"""expect: correct, at most 2x

Watches the inputs' memory from a thread between its calls: as soon as the judge has written new values there, and
before it asks for them, the thread computes the answer; the timed call then only hands it over. What was computed
before the judge's window opens must not help.
"""

import threading
import time

import torch
import torch.nn as nn


def _mark(x):
    return x[:, -1].clone()


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.watched = {}
        self.ready = {}

    def _watch(self):
        while True:
            for place, x in list(self.watched.items()):
                mark = _mark(x)
                known = self.ready.get(place)
                if known is None or not torch.equal(known[0], mark):
                    answer = x.mean(dim=1)
                    if torch.equal(mark, _mark(x)):
                        self.ready[place] = (mark, answer)
            time.sleep(1e-4)

    def forward(self, x):
        if not self.watched:
            threading.Thread(target=self._watch, daemon=True).start()
        self.watched.setdefault(x.data_ptr(), x)
        known = self.ready.get(x.data_ptr())
        if known is not None and torch.equal(known[0], _mark(x)):
            return known[1]
        return x.mean(dim=1)
