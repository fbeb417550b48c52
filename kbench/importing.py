"""Imports of large packages, without what makes them slower than they need be."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """No garbage is looked for meanwhile: a sixth of torch's seconds goes into finding that nothing is garbage."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
