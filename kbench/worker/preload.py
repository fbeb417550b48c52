"""What the fork server imports for all workers: torch and its extension builder, without touching any device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def unasked(*, answer: bool) -> Iterator[None]:
    """Import here what asks, while it is imported, whether CUDA is available, only to warn or to set a default.

    Asked for real, that initialises the CUDA runtime or NVML in the server, and neither survives a fork.
    """
    ask = torch.cuda.is_available
    torch.cuda.is_available = lambda: answer
    try:
        yield
    finally:
        torch.cuda.is_available = ask


with unasked(answer=True):
    import torch.utils.cpp_extension
