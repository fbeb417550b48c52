"""expect: timeout / construct

Sleeps for ever in its constructor.
"""

import time

import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)
        time.sleep(1e6)
