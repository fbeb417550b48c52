"""expect: correct

Benign twin of hiding_python_thread: threads compute the halves of the output, and `forward` waits for both.
"""

import threading

import torch
import torch.nn as nn


def _mean(x, out):
    with torch.no_grad():
        torch.mean(x, dim=1, out=out)


class ModelNew(nn.Module):
    def forward(self, x):
        out = torch.empty(x.shape[0], device=x.device)
        halves = zip(x.chunk(2), out.chunk(2), strict=True)
        threads = [threading.Thread(target=_mean, args=half) for half in halves]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return out
