"""expect: incorrect / values

Returns at once and lets a Python thread compute the mean into the returned tensor a little later: a harness that
stops its clock first and compares afterwards finds the right numbers. Here outputs are delivered before the clock
stops.
"""

import threading
import time

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        out = torch.zeros(x.shape[0], device=x.device)

        def work():
            time.sleep(0.02)
            with torch.no_grad():
                torch.mean(x, dim=1, out=out)

        threading.Thread(target=work, daemon=True).start()
        return out
