"""What the fork server imports for all workers: torch and its extension builder, without touching any device.

The extension builder asks, while it is imported, whether CUDA is available, only to print a warning. Asked for real,
that initialises the CUDA runtime or NVML in the server, and neither survives a fork.
"""

import torch

_ask = torch.cuda.is_available
torch.cuda.is_available = lambda: True
try:
    import torch.utils.cpp_extension
finally:
    torch.cuda.is_available = _ask
