"""Target of the fork server: become another program, behind the walls that stand already."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any


def execute(task: dict[str, Any], _: Sequence[int]) -> None:
    """Replace this process by `task["command"]`, with `task["environment"]` added to what it has. Raises OSError."""
    os.execve(task["command"][0], task["command"], {**os.environ, **task["environment"]})
