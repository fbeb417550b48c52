"""expect: correct

Benign twin of resources_shared_memory_bomb: it keeps its workspace in shared memory that is made with
multiprocessing, moves a tensor there, and gives it back when the module goes.
"""

from multiprocessing import shared_memory

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        block = shared_memory.SharedMemory(create=True, size=512 * 4)
        block.buf[:4] = b"\0\0\0\0"
        block.close()
        block.unlink()
        self.sums = torch.zeros(512, 1).share_memory_()

    def forward(self, x):
        exponentials = torch.exp(x - x.amax(dim=1, keepdim=True))
        sums = torch.sum(exponentials, dim=1, keepdim=True, out=self.sums if x.device.type == "cpu" else None)
        return exponentials / sums
