"""expect: correct

Benign twin of hiding_cuda_unjoined_stream: half of the rows on a side stream, which waits for the inputs, and for
which the default stream waits in turn.
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.side = None

    def forward(self, x):
        if self.side is None:
            self.side = torch.cuda.Stream(device="cuda")
        half = x.shape[0] // 2
        out = torch.empty(x.shape[0], device=x.device)
        self.side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.side):
            torch.mean(x[:half], dim=1, out=out[:half])
        torch.mean(x[half:], dim=1, out=out[half:])
        torch.cuda.current_stream().wait_stream(self.side)
        return out
