"""What holds for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ.pop("COLUMNS", None)  # whoever runs the tests may have set it, and it would wrap what kbench prints


@pytest.fixture(autouse=True)
def _cores_stay_what_they_are() -> Iterator[None]:
    """A worker keeps to one core for good: run within the tests' process, it would keep all later tests there."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)
