"""expect: correct

Benign twin of resources_thread_bomb: it splits its rows over a pool of four threads and waits for all of them before
it returns.
"""

from concurrent.futures import ThreadPoolExecutor

import torch
import torch.nn as nn

_THREADS = 4


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.pool = ThreadPoolExecutor(_THREADS)

    def forward(self, x):
        return torch.cat(list(self.pool.map(lambda part: part.mean(dim=1), x.chunk(_THREADS))))
