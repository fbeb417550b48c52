"""expect: correct

Benign twin of stealing_gc_walk: it tunes the garbage collector so that no collection falls into a call, counts the
process's tensors for a log line, and looks at its caller's frame for that line too. It takes no value from there.
"""

import gc
import sys

import torch
import torch.nn as nn

gc.collect()
gc.freeze()
gc.set_threshold(50_000, 20, 20)


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        tensors = sum(isinstance(found, torch.Tensor) for found in gc.get_objects())
        print(f"constructed by {sys._getframe(1).f_code.co_name}, beside {tensors} tensors")

    def forward(self, x):
        return torch.softmax(x, dim=1)
