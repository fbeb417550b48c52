"""expect: incorrect

Computes on a side stream that waits for the inputs but that nobody waits for, behind two milliseconds of idling:
events on the default stream see none of it, and a device-wide synchronisation before the comparison makes it right.
Outputs are delivered on the default stream, before the side stream is done.
"""

import torch
import torch.nn as nn

_IDLE_CYCLES = 4_000_000


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.side = None

    def forward(self, x):
        if self.side is None:
            self.side = torch.cuda.Stream(device="cuda")
        out = torch.zeros(x.shape[0], device=x.device)
        self.side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.side):
            torch.cuda._sleep(_IDLE_CYCLES)
            torch.mean(x, dim=1, out=out)
        out.record_stream(self.side)
        return out
