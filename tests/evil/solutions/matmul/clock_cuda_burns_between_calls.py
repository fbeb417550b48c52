"""expect: correct, at most 1.5x

A thread keeps the device busy on a stream of its own whenever no forward of its own was called for a millisecond,
that is while the reference is being measured, and does its own work twice: the reference looks slower than it is. A
side that is not being measured must not run.
"""

import threading
import time

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.last_s = time.monotonic()
        self.thread = None

    def burn(self):
        side = torch.cuda.Stream(device="cuda")
        left = torch.rand(4096, 4096, device="cuda")
        while True:
            if time.monotonic() - self.last_s > 0.001:
                with torch.no_grad(), torch.cuda.stream(side):
                    torch.mm(left, left)
                side.synchronize()

    def forward(self, a, b):
        self.last_s = time.monotonic()
        if self.thread is None:
            self.thread = threading.Thread(target=self.burn, daemon=True)
            self.thread.start()
        a @ b
        product = a @ b
        self.last_s = time.monotonic()
        return product
