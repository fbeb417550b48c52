"""Lines from a process that may never write the next one."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

_CHUNK_BYTES = 1 << 16


def read_lines(descriptor: int, *, timeout_s: float) -> Iterator[bytes]:
    """Whole lines as they arrive; ends with the stream, or when nothing came for `timeout_s`."""
    pending = b""
    while select.select([descriptor], [], [], timeout_s)[0]:
        chunk = os.read(descriptor, _CHUNK_BYTES)
        if not chunk:
            return
        *lines, pending = (pending + chunk).split(b"\n")
        yield from lines
