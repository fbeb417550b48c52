"""expect: correct

Benign twin of resources_output_bomb: it prints a great deal, half a megabyte of tuning log, and stays below every cap.
"""

import torch
import torch.nn as nn

for _number in range(8000):
    print(f"candidate tile {_number:5d}: 0.{_number:05d} ms, not chosen, {'.' * 16}")


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=1)
