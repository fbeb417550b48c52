"""Imports of large packages, without what makes them slower than they need be."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """No garbage is looked for meanwhile, and what there is in the end is never looked at again.

    For imports whose objects stay: a sixth of torch's seconds goes into finding that nothing is garbage. In a process
    that forks, frozen objects also keep their pages shared.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
