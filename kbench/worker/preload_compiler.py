"""What the fork server imports where torch.compile is a baseline: four seconds for each worker that had to itself."""

import contextlib

import torch

from kbench.worker.preload import unasked

with unasked(answer=torch.backends.cuda.is_built()):
    import torch._dynamo
    import torch._inductor.compile_fx

with contextlib.suppress(ImportError, AttributeError):  # a version that has it elsewhere takes the time
    from torch._inductor.codecache import torch_key

    torch_key()  # a hash over its files, part of every key of its caches: remembered, and a third of a second
