"""What the fork server imports where torch.compile is a baseline: four seconds for each worker that had to itself."""

import torch

from kbench.worker.preload import unasked

with unasked(answer=torch.backends.cuda.is_built()):
    import torch._dynamo
    import torch._inductor.compile_fx  # noqa: F401
