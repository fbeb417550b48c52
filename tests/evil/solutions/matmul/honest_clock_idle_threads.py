"""expect: correct

Benign twin of clock_burning_threads: it keeps a pool of threads that sleep between calls, divides the rows among them
and waits for all of them.
"""

import concurrent.futures

import torch
import torch.nn as nn

_PARTS = 2


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.pool = concurrent.futures.ThreadPoolExecutor(max_workers=_PARTS)

    def forward(self, a, b):
        out = a.new_empty(a.shape[0], b.shape[1])
        with torch.no_grad():
            parts = zip(a.chunk(_PARTS), out.chunk(_PARTS), strict=True)
            jobs = [self.pool.submit(_product, rows, b, place) for rows, place in parts]
            for job in jobs:
                job.result()
        return out


def _product(rows, b, place):
    with torch.no_grad():
        torch.mm(rows, b, out=place)
