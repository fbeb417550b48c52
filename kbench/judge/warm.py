"""What torch asks of its first user, done before any pair is judged: imports, contexts and libraries."""

from __future__ import annotations

import torch


def warm_up(device: torch.device) -> None:
    """Do a little of what every judgement does, in both precisions."""
    import torch._dynamo  # what watching operators asks for when first done: two seconds

    for dtype in (torch.float32, torch.float64):
        images = torch.rand(2, 8, 16, 16, dtype=dtype, device=device)
        kernels = torch.rand(8, 8, 3, 3, dtype=dtype, device=device)
        made = torch.nn.functional.conv2d(images, kernels)
        normal = torch.nn.functional.group_norm(made, 2) @ made.transpose(2, 3)
        torch.std_mean(normal.flatten()[torch.randint(0, 8, (4,), device=device)])
    if device.type == "cuda":
        torch.cuda.synchronize(device)
